//! End to end: the real binary, a real RabbitMQ, the official socket.io clients.

mod bad_input;
mod flips;
mod kit;
mod outage;
mod samples;
mod seed;
mod settings;
mod shadow;
mod slow;
mod stages;
mod tabs;
