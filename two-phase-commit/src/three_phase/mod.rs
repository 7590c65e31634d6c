//! Three-phase commit. **Do not use it to keep data consistent: use two-phase commit with a replicated decision log.**
//!
//! Three-phase commit is known for never blocking: when the coordinator fails, the other nodes finish the transaction.
//! This holds only where a silent node is certainly down. In a network that can be partitioned, which is every network,
//! one of two things is true of it:
//!
//! - The classical form ([`Form::Classical`]; Skeen, "Nonblocking Commit Protocols", SIGMOD 1981) takes silence for a
//!   crash. A partition then makes one side commit and the other abort. A test of this crate shows the schedule.
//! - The form with quorums ([`Form::Quorum`]; Skeen, "A Quorum-Based Commit Protocol", 1982, in the form of Keidar and
//!   Dolev, "Increasing the Resilience of Distributed and Replicated Database Systems", 1998, called E3PC) never
//!   does that. It blocks without a majority of the transaction's participants, as any safe protocol must.
//!
//! Two-phase commit with a replicated decision log also goes on with a majority, namely that of the log's nodes, which
//! are few and the same for all transactions. It needs fewer messages and fewer writes, and participants that vote
//! read-only or go away for good do not count in any quorum. So this module is for study, comparison, and systems that
//! have no place for such a log.
//!
//! | without faults, n participants besides the coordinator | messages | message delays until the commit is known | forced writes |
//! | --- | --- | --- | --- |
//! | two-phase commit, presumed abort | 4n | 3 | 1 + n, and n that wait for others |
//! | three-phase commit | 6n | 5 | 3 a participant, the coordinator included |
//!
//! An abort is presumed, as in two-phase commit: it is not acknowledged, and its coordinator keeps nothing of it.
//!
//! The coordinator is one of the participants. The first attempt to decide is its own. A node that hears nothing for a
//! while begins another attempt, with a higher number: it asks all participants where they are, and proposes what the
//! answers allow. What a majority accepts in one attempt is decided, and the attempts after it can only propose the
//! same.
//!
//! ```text
//!            Prepare         Vote            Propose(commit)         Accept           Decide           Known
//!  coordinator ───► participant ───► coordinator ───► participant ───► coordinator ───► participant ───► coordinator
//!                   (write, 1)                        (write, 2)                        (write, 3)
//! ```

mod attempts;
mod core;
mod event;
mod journal;
mod message;
mod record;
mod site;
#[cfg(feature = "testing")]
pub mod testing;

pub use core::ThreePhaseCommit;
pub use event::{Answer, Command, Config, Event, Form, Refusal, Request, Settings};
pub use message::{Message, Position, Small};
pub use site::Attempt;
