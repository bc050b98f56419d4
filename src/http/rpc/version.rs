//! `version`, `version/*`: kubo core/commands/version.go.

use std::sync::LazyLock;

use serde::Serialize;

use super::value::Int;
use super::{Error, Reply, Request, Value};
use crate::node::version;

/// What this was built from.
const LOCK_FILE: &str = include_str!("../../../Cargo.lock");

#[derive(Debug, Serialize)]
#[serde(rename = "VersionInfo", rename_all = "PascalCase")]
pub(super) struct Version {
    version: &'static str,
    commit: &'static str,
    repo: String,
    system: String,
    golang: &'static str,
    #[serde(skip)]
    show: Show,
}

/// What the text shows.
#[derive(Debug, Clone, Copy, Default)]
struct Show {
    all: bool,
    repo: bool,
    number: bool,
    commit: bool,
}

impl Version {
    fn new(show: Show) -> Self {
        Self {
            version: version::KUBO_VERSION,
            commit: version::COMMIT,
            repo: version::REPO_VERSION.to_string(),
            system: version::system(),
            golang: version::GO_VERSION,
            show,
        }
    }
}

impl Value for Version {
    fn text(&self) -> Option<Result<String, Error>> {
        let Self { version, commit, repo, system, golang, show } = self;
        let with_commit = if commit.is_empty() || !(show.commit || show.all) {
            (*version).to_owned()
        } else {
            format!("{version}-{commit}")
        };
        Some(Ok(match show {
            Show { all: true, .. } => format!(
                "Kubo version: {with_commit}\nRepo version: {repo}\nSystem version: {system}\n\
                 Golang version: {golang}\n"
            ),
            Show { repo: true, .. } => format!("{repo}\n"),
            Show { number: true, .. } => format!("{with_commit}\n"),
            _ => format!("ipfs version {with_commit}\n"),
        }))
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename = "commands.Dependency", rename_all = "PascalCase")]
struct Dependency {
    path: &'static str,
    version: &'static str,
    replaced_by: &'static str,
    sum: &'static str,
}

impl Value for Dependency {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}@{}\n", self.path, self.version)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "commands.VersionCheckOutput", rename_all = "PascalCase")]
struct Check {
    update_available: bool,
    running_version: &'static str,
    greatest_version: &'static str,
    peers_sampled: Int,
    with_greater_version: Int,
}

impl Value for Check {
    const BY_VALUE: bool = true;
}

/// `version`.
pub(super) async fn version(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    Ok(Reply::one(Version::new(Show {
        all: options.bool("all"),
        repo: options.bool("repo"),
        number: options.bool("number"),
        commit: options.bool("commit"),
    })))
}

/// The JSON that `diag/profile` puts into its archive.
pub(super) fn as_json() -> serde_json::Value {
    serde_json::to_value(Version::new(Show::default())).unwrap_or_default()
}

/// `version/deps`: ourselves, then every crate of the lock file.
pub(super) async fn deps(_: Request) -> Result<Reply, Error> {
    static ALL: LazyLock<Vec<Dependency>> = LazyLock::new(dependencies);
    Ok(Reply::all(ALL.iter().cloned()))
}

fn dependencies() -> Vec<Dependency> {
    let own = Dependency { path: "pinmesh", version: version::VERSION, replaced_by: "", sum: "" };
    let crates = LOCK_FILE.split("[[package]]").skip(1).map(|package| {
        let field = |name: &str| {
            let line =
                package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map_or("", |value| value.trim_matches('"'))
        };
        Dependency {
            path: field("name"),
            version: field("version"),
            replaced_by: "",
            sum: field("checksum"),
        }
    });
    std::iter::once(own).chain(crates.filter(|package| package.path != "pinmesh")).collect()
}

/// `version/check`: only this node can be asked.
pub(super) async fn check(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    Ok(Reply::one(Check {
        update_available: false,
        running_version: version::KUBO_VERSION,
        greatest_version: version::KUBO_VERSION,
        peers_sampled: Int(1),
        with_greater_version: Int(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_lock_file_is_a_dependency() {
        let all = dependencies();
        assert_eq!(all[0].path, "pinmesh");
        assert!(all.iter().any(|one| one.path == "tokio" && one.version.starts_with("1.")));
        assert!(all.iter().skip(1).all(|one| !one.path.is_empty() && !one.version.is_empty()));
    }
}
