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

# Ten minutes of comparison at 500 messages a second, with the oldest and the newest Chat3: what it holds, before and after.
soak-compare seconds="600" rate="500":
    SOAK_SECONDS={{seconds}} SOAK_RATE={{rate}} cargo test --release --test it soak -- --ignored --nocapture

# So many users, the broker restarted under load, and flips: how soon all are served again. `just crowd 5000 --release` for
# a gateway as it is released.
crowd users="5000" *profile:
    CROWD_USERS={{users}} cargo test {{profile}} --test it crowd::five -- --ignored --nocapture

# Everything at once for so long: load, flips, faults of broker, Chat3 and gateways, clients that come, go and resume.
# `just soak 1h`, `just soak 10m --seed 7 --json figures.json`; the seed replays what happens when.
soak *args:
    scripts/soak {{args}}

# The tests of the broker on RabbitMQ 4, in a folder that scripts/rabbitmq-4 makes (as root, once): with a WORD those that
# have it in their name.
broker-tests-4 *words:
    scripts/broker-tests-4 {{words}}

# The recipients in a simulated world, from so many seeds; a finding is a seed, made small and printed.
simulate seeds="100000":
    scripts/simulate {{seeds}}

# Plants faults one by one into a copy, those of tests/planted.toml and of crates/bridge_core/tests/simulation/mutants.txt:
# the tests have to find each. `just mutants simulation`, `just mutants "planted lib"`, or any word of an entry.
mutants *words:
    scripts/mutants {{words}}

# What a delivery costs: `just bench core` for single steps, `just bench` for a whole gateway.
bench *args:
    scripts/bench {{args}}

# A room of a thousand of whom one stops reading: what the others notice, in rounds with and without it.
deaf:
    cargo test --release --test it what_a_room_of_a_thousand -- --ignored --nocapture

# Hostile clients of every kind, in rounds with and without them: what they get, the memory, and what the others notice.
hostile:
    cargo test --release --test it what_the_others_notice -- --ignored --nocapture

# A target of fuzz/ (`ls fuzz/targets`) for so many seconds, from the samples of Chat3.
fuzz target seconds="60":
    scripts/fuzz {{target}} {{seconds}}
