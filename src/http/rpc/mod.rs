//! The RPC: Kubo's commands over HTTP.
//!
//! Translates requests into calls of the node and results into bytes, by the command table. No
//! decisions and no state but the log of commands.
//!
//! # How to write a command
//!
//! 1. Its row is in `table/*.rs` already, as `later("pin/add", …)`. Append
//!    `.run(|request| Box::pin(pin::add(request)))`; nothing else in the table changes.
//! 2. The handler lives in the file of its group and is thin:
//!
//! ```ignore
//! /// `pin/rm`: kubo core/commands/pin/pin.go.
//! pub(super) async fn rm(mut request: Request) -> Result<Reply, Error> {
//!     let encoder = request.cid_encoder()?;                  // cid-base
//!     let paths = request.all_args().await?;                 // with those of the body (`+b`)
//!     let recursive = request.options.bool("recursive");     // defaults are filled in
//!     request.deadline.set("pin: ");                         // "pin: context deadline exceeded"
//!     let cids = request.node.unpin(paths, recursive).await?; // From<node::Error> for Error
//!     Ok(Reply::one(PinOutput { pins: cids.iter().map(|cid| encoder.encode(cid)).collect() }))
//! }
//! ```
//!
//! 3. Its answer is a struct that derives `Serialize` with Kubo's Go names (see [`value`]):
//!
//! ```ignore
//! #[derive(Serialize)]
//! #[serde(rename = "pin.PinOutput", rename_all = "PascalCase")]
//! struct PinOutput { pins: Vec<String> }
//!
//! impl Value for PinOutput {
//!     // Only for a command with a text encoder; without it text is Go's `%s`.
//!     fn text(&self) -> Option<Result<String, Error>> {
//!         Some(Ok(self.pins.iter().map(|pin| format!("unpinned {pin}\n")).collect()))
//!     }
//! }
//! ```
//!
//!    A field that only the text encoder needs (an option like `quiet`) is `#[serde(skip)]`.
//!    `omitempty` is [`value::Omit`], a CID as such [`value::Link`], `[]byte` [`value::Base64`].
//! 4. Replies: [`Reply::one`], [`Reply::many`] (a stream; the first item decides between an error
//!    answer and a trailer), [`Reply::raw`]`.content_type(…).length(…)`, [`Reply::Json`] for one
//!    huge JSON value in pieces, [`Reply::Nothing`].
//! 5. Files: `while let Some(entry) = request.files.next().await?` walks the tree depth-first,
//!    `request.files.chunk().await?` reads the current file; `request.first_file()` is for
//!    commands that take one.
//! 6. Errors: [`Error::new`] (500, code 0: almost all), [`Error::client`] (400, code 1).
//! 7. Dropping the future or stream cancels the work; the deadline does just that.

mod add;
mod bitswap;
mod block;
pub mod body;
mod bootstrap;
pub mod call;
mod cat;
mod cid;
mod commands;
pub mod commands_log;
mod config;
mod dag;
mod diag;
mod emit;
mod error;
pub mod files;
mod filestore;
mod get;
mod go_any;
mod group_options;
pub(super) mod guard;
mod id;
mod json_diff;
mod key;
mod log;
mod ls;
pub mod media_type;
mod mfs;
mod mount;
mod multibase;
mod multipart;
mod name;
mod object;
pub mod options;
mod p2p;
pub mod parse;
mod pin;
mod pin_remote;
mod ping;
mod profile;
mod provide;
mod pubsub;
pub mod query;
mod refs;
mod repo;
mod resolve;
mod resources;
mod routing;
pub(super) mod service;
mod stats;
mod swarm;
mod sync;
pub mod table;
mod tabwriter;
pub mod value;
mod version;

pub use call::{CidEncoder, Reply, Request};
pub use error::Error;
pub use table::table;
pub use value::Value;

#[cfg(test)]
mod multipart_tests;
