//! Tests of the examples from outside.

mod access;
mod bank;
mod cluster;
mod deploy;
mod golden;
mod members;
mod page;
mod processes;
mod pubsub;
mod recording;
mod register;
mod server;
mod shards;
mod small;
mod tls;
mod transfer;
mod work;

#[path = "../../../two-phase-commit/tests/servers/mod.rs"]
mod servers;
