//! Behaviour through the public API.

mod bounds;
mod formats;
mod hostile;
mod random;
mod rows;
mod support;
mod views;
