//! Registers.

mod bounds;
mod deletion;
mod formats;
mod history;
mod hostile;
mod outcomes;
mod random;
mod roles;
mod rows;
#[cfg(feature = "server")]
mod server;
mod support;
mod views;
