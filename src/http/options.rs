//! What the server is told when it starts. Plain data.

use crate::config::Config;

/// The options of the server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `API.HTTPHeaders`: names and their values.
    pub headers: Vec<(String, Vec<String>)>,
    /// `API.Authorizations`: names, secrets as configured, and the path prefixes that each opens.
    pub authorizations: Vec<(String, String, Vec<String>)>,
    /// `$API_ORIGIN`: one more allowed origin.
    pub api_origin: Option<String>,
    /// The version of Kubo whose behaviour this is, as in `0.44.0`.
    pub version: String,
    /// The agent: `kubo/0.44.0/pinmesh-0.1.0`. Also the `Server` header.
    pub agent: String,
    /// The commit this was built from; empty when unknown.
    pub commit: String,
}

impl Options {
    /// The options that a config gives. `agent` and `commit` say who we are.
    #[must_use]
    pub fn new(config: &Config, version: &str, agent: &str, commit: &str) -> Self {
        let authorizations = config.api_authorizations().into_iter();
        Self {
            headers: config.api_headers().into_iter().collect(),
            authorizations: authorizations
                .map(|(name, entry)| (name, entry.secret, entry.allowed_paths))
                .collect(),
            api_origin: std::env::var("API_ORIGIN").ok().filter(|origin| !origin.is_empty()),
            version: version.to_owned(),
            agent: agent.to_owned(),
            commit: commit.to_owned(),
        }
    }
}
