//! Tests of the examples from outside.

mod golden;
mod server;
