# `just` alone lists the recipes.
default:
    @just --list

# What must pass before a commit: formatting, lints, dependencies, layers.
check:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    command -v cargo-deny >/dev/null && cargo deny check || echo "cargo-deny is not installed: skipped"
    cargo test --test it -- architecture openapi

# Unit and integration tests.
test *args:
    cargo test {{args}}

# Real clients and recorded answers against the newest binary; see compat-tests/README.md.
compat *args:
    compat-tests/run {{args}}

# Everything, as CI runs it.
ci:
    .ci/run

# Prints docs/compatibility.md from the command table.
compat-table:
    UPDATE_PAGES=1 cargo test --test it -- compatibility_page

# Pinmesh, and Kubo when KUBO_BIN names one, at the same work.
bench *args:
    cargo build --release
    benches/run {{args}}

# The simulator of the replicated pinset over many seeds; a failure prints its seed.
sim seeds="1000000":
    SIM_SEEDS={{seeds}} cargo test --release --lib sync::sim -- --nocapture

# One fuzz target for a minute (needs cargo-fuzz and a nightly toolchain).
fuzz target seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# A binary for release images.
release:
    cargo build --locked --profile dist
