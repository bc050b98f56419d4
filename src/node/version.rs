//! Who we say we are.

/// The Kubo whose behaviour this is: clients compare it.
pub const KUBO_VERSION: &str = "0.44.0";

/// The version of the repo's layout.
pub const REPO_VERSION: u32 = crate::repo::VERSION;

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this was built from; empty when the build did not say (`PINMESH_COMMIT`).
pub const COMMIT: &str = match option_env!("PINMESH_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// What the `Golang` field of `version` holds. Clients parse it, and nothing here was built by Go:
/// it names the compiler of the Kubo whose behaviour this is.
pub const GO_VERSION: &str = "go1.26.5";

/// What the agents of nodes of this program have in them, before its version.
pub(super) const OWN_AGENT: &str = "/pinmesh-";

/// The agent: `kubo/0.44.0/pinmesh-0.1.0`, and `suffix` when there is one.
#[must_use]
pub fn agent(suffix: Option<&str>) -> String {
    let agent = format!("kubo/{KUBO_VERSION}{OWN_AGENT}{VERSION}");
    match suffix.filter(|suffix| !suffix.is_empty()) {
        Some(suffix) => format!("{agent}/{suffix}"),
        None => agent,
    }
}

/// Architecture and operating system by Go's names, as in `amd64/linux`.
#[must_use]
pub fn system() -> String {
    format!("{}/{}", architecture(), std::env::consts::OS)
}

/// The architecture by Go's name.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
