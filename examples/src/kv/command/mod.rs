//! The commands of clients, and their meaning for the store.
//!
//! A command is a write, which goes through the log; a read, which needs the store and changes nothing; or it concerns
//! the connection alone. [`parse`] decides which it is, and checks everything that can be checked without the store.

mod errors;
mod glob;
mod info;
mod parse;
mod query;
mod session;
mod spec;

pub use glob::matches;
pub use info::{About, Role, ServerInfo};
pub use parse::{Command, parse};
pub use query::{Answer, At, Query, ReadBatch, Scan};
pub use session::{Session, SessionCommand, SessionEffect};
pub use spec::{Kind, Spec};
