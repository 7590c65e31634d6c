//! Multi-Paxos through the public API.

mod catching_up;
mod random;
mod rows;
