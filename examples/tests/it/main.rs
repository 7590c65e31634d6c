//! Tests of the examples from outside.

mod cluster;
mod golden;
mod processes;
mod recording;
mod server;
