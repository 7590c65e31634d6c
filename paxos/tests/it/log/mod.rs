//! Multi-Paxos through the public API.

mod random;
mod rows;
