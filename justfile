# The usual ways; `just --list` shows them.

# Everything on one machine, nothing installed but Rust.
demo *args:
    cargo run --release -- demo {{args}}

# All tests, with what they need.
test *args:
    scripts/test {{args}}

# What has to hold before a change lands.
ci:
    .ci/run

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings
