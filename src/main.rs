//! `pinmesh`: runs the command line and ends with its exit code.

fn main() {
    let code = pinmesh::cli::run(std::env::args_os());
    #[expect(clippy::disallowed_methods, reason = "this is where the process ends")]
    std::process::exit(i32::from(code));
}
