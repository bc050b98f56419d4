//! The CIDs that Kubo gave to generated files and directories, and reading them back.

mod hostile;
mod roundtrip;
mod vectors;
