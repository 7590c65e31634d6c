//! Tests of the store from outside.

mod access;
mod cluster;
mod day;
mod deploy;
mod golden;
mod large;
mod members;
mod memory;
mod metrics;
mod page;
mod processes;
mod pubsub;
mod recording;
mod server;
mod shards;
mod strangers;
mod tls;
mod transfer;
