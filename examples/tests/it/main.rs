//! Tests of the examples from outside.

mod cluster;
mod golden;
mod members;
mod processes;
mod recording;
mod server;
