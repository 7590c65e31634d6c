//! Tests of the examples from outside.

mod bank;
mod register;
mod small;
mod work;

#[path = "../../../two-phase-commit/tests/servers/mod.rs"]
mod servers;
