//! Behaviour through the public API.

mod election;
mod random;
