//! Registers and lists: a state machine for simulated clients, and clients whose history can be judged.
//!
//! Any [`Machine`](crate::world::Machine) that takes [`RegisterRequest`]s and answers [`Response`]s can run with
//! [`RegisterClients`].

mod request;
mod state;
mod workload;

pub use request::{RegisterRequest, Response};
pub use state::RegisterState;
pub use workload::RegisterClients;
