//! Behaviour through the public API.

mod bounds;
mod content;
mod disks;
mod formats;
mod hostile;
mod members;
mod paper;
mod quiet;
mod random;
mod scenarios;
mod snapshots;
mod standing;
mod support;
mod texts;
mod views;
