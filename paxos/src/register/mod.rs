//! CASPaxos: many keyed registers in one group, without a leader and without a log.
//!
//! After Denis Rystsov, "CASPaxos: Replicated State Machines without logs", 2018. Each register is an instance of Paxos
//! whose content changes: a proposer prepares a ballot with a quorum of acceptors, applies a change to the content that
//! was accepted in the highest ballot which they report, and has the result accepted. Any proposer changes any
//! register, and goes on while any quorum of acceptors runs. [`message`] lists the messages, [`Command`] the commands
//! and [`Event`] the events for the application.

mod acceptor;
mod base;
mod changer;
mod codec;
mod config;
mod content;
mod continued;
mod copier;
mod core;
mod decide;
mod error;
mod event;
mod explain;
mod in_force;
pub mod message;
mod proposer;
mod reader;
mod refusals;
mod remover;
mod roles_change;
mod sections;
#[cfg(feature = "server")]
mod server;
mod state;
mod status;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod work;

pub use self::core::Register;
pub use config::{Config, Function, Functions, PROPOSERS_MAX, Roles, Settings};
pub use content::{CHANGES_REMEMBERED, Content, Past};
pub use error::{ConfigError, Ignored};
pub use event::{
    Change, ChangeOutcome, Command, CommandRefusal, Event, Expected, Found, ReadOutcome, ResolveOutcome, Trace, Version,
};
pub use explain::RegisterObstacle;
pub use in_force::{RolesInForce, System};
pub use message::Message;
pub use roles_change::{AddedNode, RolesChange, RolesOutcome, RolesRefusal};
#[cfg(feature = "server")]
pub use server::{CHANNEL, RegisterHandle, Registers, host, host_with};
pub use status::{RegisterStatus, Status};
