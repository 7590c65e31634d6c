//! The contract's formats and helpers through their public API.

mod batch;
mod chassis;
mod configuration;
mod entry;
mod golden;
mod member_change;
mod outbox;
mod recovery;
mod stage;
mod stream;
