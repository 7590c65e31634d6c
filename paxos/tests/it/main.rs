//! Behaviour through the public API.

mod formats;
mod hostile;
mod random;
mod rows;
mod support;
mod views;
