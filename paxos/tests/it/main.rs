//! Behaviour through the public API.

mod bounds;
mod formats;
#[cfg(feature = "server")]
mod founding;
mod hostile;
mod idle;
mod outcomes;
mod random;
mod reads;
mod register;
mod rows;
mod support;
mod views;
