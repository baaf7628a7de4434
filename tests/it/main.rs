//! End to end: the real binary, a real RabbitMQ, the official socket.io clients.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and logs of a failed test")]

mod admins;
mod alarms;
mod audience;
mod bad_input;
mod bodies;
mod connections;
mod console;
mod control;
mod demo;
mod ending;
mod fleets;
mod flips;
mod handed;
mod incident;
mod kit;
mod members;
mod notices;
mod outage;
mod planted;
mod qa;
mod routes;
mod samples;
mod seed;
mod settings;
mod shadow;
mod slow;
mod soak;
mod stages;
mod tabs;
mod telemetry;
mod tls;
mod tokens;
mod topologies;
mod upgrades;
mod web_client;
