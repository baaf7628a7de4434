//! `updates-bridge`: a chat gateway that moves real-time delivery from room broadcast to RabbitMQ per-user queues.
//!
//! Arrows go one way: cli → app → http, admin, demo → fleet → delivery, flag, shadow → broker, sockets, chat3, auth →
//! config, memory, metrics, notice, rate, ration, vital → `bridge_core`.

pub mod admin;
pub mod app;
pub mod auth;
pub mod broker;
pub mod chat3;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod flag;
pub mod fleet;
pub mod http;
pub mod listener;
pub mod memory;
pub mod notice;
mod rate;
pub mod ration;
pub mod shadow;
pub mod sockets;
pub mod telemetry;
mod vital;

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Names the sources that this was built from: 16 hex digits.
pub const BUILD: &str = env!("BRIDGE_BUILD");
