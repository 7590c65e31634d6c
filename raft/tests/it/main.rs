//! Behaviour through the public API.

mod election;
mod formats;
mod hostile;
mod random;
mod scenarios;
mod support;
mod views;
