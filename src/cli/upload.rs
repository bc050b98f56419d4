//! Files of the disk as the multipart body of a call.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::Rng as _;

use super::client::BodyWriter;

/// How deep directories are followed.
const DEPTH_MAX: usize = 4096;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    /// The paths; `-` is standard input.
    pub(super) paths: Vec<PathBuf>,
    /// Whether directories are sent with what is in them.
    pub(super) recursive: bool,
    /// Whether names that begin with a dot are sent.
    pub(super) hidden: bool,
}

impl Upload {
    /// The content type and the writer of the body.
    pub(super) fn into_body(self) -> (String, BodyWriter) {
        let boundary = format!("pinmesh-{:032x}", rand::rng().random::<u128>());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let write = move |out: &mut dyn Write| {
            for path in &self.paths {
                if path == Path::new("-") {
                    part(out, &boundary, "", "application/octet-stream")?;
                    copy(&mut io::stdin().lock(), out)?;
                    out.write_all(b"\r\n")?;
                } else {
                    let name = top_name(path)?;
                    self.send(out, &boundary, path, &name)?;
                }
            }
            write!(out, "--{boundary}--\r\n")?;
            out.flush()?;
            Ok(())
        };
        (content_type, Box::new(write))
    }

    /// Sends `top` under `name`, directories before what is in them.
    fn send(
        &self,
        out: &mut dyn Write,
        boundary: &str,
        top: &Path,
        name: &str,
    ) -> anyhow::Result<()> {
        let mut open = vec![(top.to_owned(), name.to_owned(), 0)];
        while let Some((path, name, depth)) = open.pop() {
            let found =
                fs::symlink_metadata(&path).with_context(|| format!("lstat {}", path.display()))?;
            if found.is_symlink() {
                let target = fs::read_link(&path)?;
                part(out, boundary, &name, "application/symlink")?;
                out.write_all(target.as_os_str().as_encoded_bytes())?;
            } else if found.is_dir() {
                if !self.recursive {
                    bail!(
                        "{} is a directory, use the '-r' flag to specify directories",
                        path.display()
                    );
                }
                if depth >= DEPTH_MAX {
                    bail!("{}: directories nest too deep", path.display());
                }
                part(out, boundary, &name, "application/x-directory")?;
                let mut entries: Vec<_> = fs::read_dir(&path)?.collect::<Result<_, _>>()?;
                // The last pushed comes first.
                entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
                for entry in entries {
                    let child = entry.file_name().to_string_lossy().into_owned();
                    if self.hidden || !child.starts_with('.') {
                        open.push((entry.path(), format!("{name}/{child}"), depth + 1));
                    }
                }
            } else if found.is_file() {
                let mut file =
                    File::open(&path).with_context(|| format!("open {}", path.display()))?;
                part(out, boundary, &name, "application/octet-stream")?;
                copy(&mut file, out)?;
            } else {
                bail!("unrecognized file type for {}", path.display());
            }
            out.write_all(b"\r\n")?;
        }
        Ok(())
    }
}

/// The name of a path that was given: its last component.
fn top_name(path: &Path) -> anyhow::Result<String> {
    let resolved = if path.file_name().is_some() { path.to_owned() } else { path.canonicalize()? };
    let name = resolved.file_name().map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("{} has no name", path.display()))
}

fn part(out: &mut dyn Write, boundary: &str, name: &str, kind: &str) -> io::Result<()> {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    write!(
        out,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
}

fn copy(from: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}
