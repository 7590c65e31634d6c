//! Single-decree Paxos: a group of nodes chooses one value, once, and all of them learn it.
//!
//! After Leslie Lamport, "Paxos Made Simple", 2001 (§2: the consensus algorithm). A proposer prepares a ballot with a
//! quorum of acceptors, and then asks them to accept one value under it: the value that was accepted in the highest
//! ballot that they report, or its own value if they report none. A value that a quorum has accepted in one ballot is
//! chosen, and no other value can be. [`message`] lists the messages, and [`Event`] the events for the application.

mod acceptor;
mod attempt;
mod base;
mod codec;
mod config;
mod core;
mod error;
mod event;
mod explain;
mod learner;
pub mod message;
mod proposer;
mod reader;
#[cfg(feature = "server")]
mod server;
mod state;
mod status;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::core::Synod;
pub use config::{Config, GroupRoles, IDLE_INTERVAL_MAX, MEMBERS_MAX, Settings};
pub use error::{ConfigError, Ignored};
pub use event::{Command, CommandRefusal, Event, Proposal, ProposalOutcome, ReadOutcome};
pub use explain::DecisionObstacle;
pub use message::Message;
#[cfg(feature = "server")]
pub use server::{CHANNEL, Decision, SynodHandle, WAITING_MAX, host, host_with};
pub use status::{AttemptStatus, Status};
