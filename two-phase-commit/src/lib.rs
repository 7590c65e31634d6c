// The first example of the README needs the manager.
#![cfg_attr(any(not(doctest), feature = "manager"), doc = include_str!("../README.md"))]

mod base;
mod codec;
mod config;
mod coordinator;
mod core;
mod delegation;
mod error;
mod event;
mod invariants;
mod journal;
#[cfg(feature = "manager")]
pub mod manager;
pub mod message;
mod outcomes;
mod participant;
mod recovery;
mod room;
mod state;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
pub mod three_phase;
mod timers;
mod transaction;
mod view;

pub use config::{Config, OnePhase, Settings};
pub use core::TwoPhaseCommit;
pub use error::{ConfigError, Ignored};
pub use event::{
    AbortReason, Answer, Command, CommandId, Deviation, Event, Knowledge, Request, RequestKind, TransactionOutcome,
    TransactionRefusal,
};
pub use message::Message;
pub use status::{ForcedOutcome, Status, UnansweredRequest};
pub use transaction::{CoordinatorId, Decision, Epoch, TransactionId, TransactionNumber, Unready, Vote};

/// The server side: `Node`, `Hosted`, the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;
