//! Behaviour through the public API.

mod boundaries;
mod bounds;
mod forced;
mod formats;
mod hostile;
mod manager;
mod mysql;
mod postgres;
mod random;
mod refused_writes;
mod rows;
mod solo;
mod stuck;
mod takeover;
mod three_phase;
mod views;

#[path = "../servers/mod.rs"]
mod servers;

/// A number from the environment, or the default for a quick run.
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
