//! Behaviour through the public API.

mod bounds;
#[cfg(feature = "server")]
mod callers;
mod formats;
#[cfg(feature = "server")]
mod founding;
mod golden;
mod hostile;
mod idle;
mod log;
mod outcomes;
mod random;
mod reads;
mod register;
mod rows;
#[cfg(feature = "server")]
mod served;
mod support;
mod views;
