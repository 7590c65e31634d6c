//! The commands of clients, and their meaning for the store.
//!
//! A command is a write, which goes through the log with its arguments; a read, which needs the store and changes
//! nothing; or it concerns the connection alone. [`Spec`] describes each, [`parse`] decides which it is, and [`apply`]
//! carries out an entry of the log. There is a file for each kind of value.

// The functions of all commands have one type, also of those that never fail.
#![allow(clippy::unnecessary_wraps)]

mod acl;
mod admin;
mod bitfield;
mod bits;
mod blocking;
mod client;
mod cluster;
mod connection;
mod context;
mod dump;
mod errors;
mod execute;
mod geo;
mod glob;
mod hashes;
mod hyperloglog;
mod info;
mod keys;
mod lcs;
mod lists;
mod memory;
mod parse;
mod pubsub;
mod query;
mod scan;
mod script;
mod session;
mod sets;
mod sort;
mod sorted_sets;
mod spec;
mod streams;
mod strings;

pub use acl::{
    AclCommand, Denied, check, generate_password, hash_password, is_free, may_listen, rewrite, user_lines, user_of_line,
};
pub use admin::AdminCommand;
pub use blocking::Blocking;
pub use cluster::{ClusterView, counted_slot};
pub use context::{At, Change, Time, Unit, View};
pub use errors::abort_because;
pub use execute::{apply, is_whole, keys_of_entry};
pub use glob::matches;
pub use info::{About, Keyspace, REDIS_VERSION, Role, ServerInfo};
pub use parse::{Command, TransactionCommand, parse};
pub use pubsub::{PubSubCommand, Question};
pub use query::{Answer, Query, ReadBatch, Scan};
pub use session::{Login, Replies, Session, SessionCommand, SessionEffect};
pub use spec::{Action, Keys, Kind, Read, Spec, Timeout, Write};
