//! Multi-Paxos through the public API.

mod catching_up;
mod hostile;
mod random;
mod rows;
mod views;
