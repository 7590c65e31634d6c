//! Behaviour through the public API.

mod formats;
mod hostile;
mod paper;
mod quiet;
mod random;
mod scenarios;
mod support;
mod views;
