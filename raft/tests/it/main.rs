//! Behaviour through the public API.

mod election;
mod formats;
mod hostile;
mod random;
mod support;
mod views;
