//! `/debug/metrics/prometheus`: what the process can say of itself, in Prometheus' text format.
//!
//! Read from `/proc` at each request; a number that cannot be read is left out, not invented.

use std::fmt::Write as _;

use hyper::Response;

use super::options::Options;
use super::reply::{self, Body};

/// The answer.
pub(super) fn answer(options: &Options) -> Response<Body> {
    let mut out = String::new();
    let info = format!(
        "ipfs_info{{commit=\"{}\",version=\"{}\"}}",
        label(&options.commit),
        label(&options.version)
    );
    metric(&mut out, "ipfs_info", "gauge", &info, Some(1));
    let name = "process_open_fds";
    metric(&mut out, name, "gauge", name, open_files());
    let name = "process_resident_memory_bytes";
    metric(&mut out, name, "gauge", name, resident_bytes());
    reply::text(out)
}

fn metric(out: &mut String, name: &str, kind: &str, series: &str, value: Option<u64>) {
    if let Some(value) = value {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# TYPE {name} {kind}\n{series} {value}");
    }
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn open_files() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory that is being read is one of them.
    u64::try_from(entries).ok()?.checked_sub(1)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
