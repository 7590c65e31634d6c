//! Registers and lists: a state machine that simulated clients talk to, and clients whose history can be judged.
//!
//! Any [`Machine`](crate::world::Machine) that takes [`Request`]s and answers [`Response`]s can be run under
//! [`RegisterClients`].

mod request;
mod state;
mod workload;

pub use request::{Request, Response};
pub use state::Registers;
pub use workload::RegisterClients;
