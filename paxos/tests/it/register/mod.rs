//! Registers.

mod history;
mod outcomes;
mod random;
