//! Registers and lists: a state machine for simulated clients, and clients whose history can be judged.
//!
//! Any [`Machine`](crate::world::Machine) that takes [`Request`]s and answers [`Response`]s can run with
//! [`RegisterClients`].

mod request;
mod state;
mod workload;

pub use request::{Request, Response};
pub use state::Registers;
pub use workload::RegisterClients;
