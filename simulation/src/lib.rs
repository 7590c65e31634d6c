#![doc = include_str!("../README.md")]

pub mod campaign;
pub mod core_machine;
pub mod diagram;
mod flipped;
pub mod history;
mod log_time;
pub mod node_machine;
pub mod registers;
pub mod schedule;
pub mod shrink;
mod trace;
pub mod trial;
pub mod world;

pub use trace::{Moment, MomentKind, TraceHasher};
