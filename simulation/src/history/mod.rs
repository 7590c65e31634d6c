//! What clients saw, and whether it could have been.
//!
//! A [`History`] is what clients called and were answered, under faults, on a simulated or a real cluster. It is judged
//! without knowing anything of the system, each thing by what its [`Kind`] demands: registers must be *linearizable* (Herlihy and
//! Wing, "Linearizability: A Correctness Condition for Concurrent Objects", TOPLAS 1990), and transactions over lists *strictly
//! serializable*. What a thing is, its calls tell.
//!
//! # In a test
//!
//! A [`Checker`] records the calls of a test and judges them: see its example.
//!
//! # The file
//!
//! JSON lines, one [`Event`] each, in Jepsen's terms:
//!
//! ```text
//! {"process":1,"type":"invoke","f":"cas","key":"x","value":[1,2],"time":1000}
//! {"process":1,"type":"ok","f":"cas","key":"x","value":[1,2],"time":2000}
//! {"process":2,"type":"invoke","f":"txn","value":[["append","l",1],["r","m",null]],"time":3000}
//! {"process":2,"type":"ok","f":"txn","value":[["append","l",1],["r","m",[7,8]]],"time":4000}
//! {"process":3,"type":"invoke","f":"dequeue","key":"jobs","time":5000}
//! {"process":3,"type":"ok","f":"dequeue","key":"jobs","value":17,"time":6000}
//! ```
//!
//! Files that Jepsen wrote are read as well, and known by what stands in them: `history.edn`, the histories of Knossos and Elle,
//! logs of the console, and what Porcupine's tests come with. [`Reading`] says what such files leave open. What no reader here knows
//! is an error that names the line: nothing that a client did is passed over.
//!
//! The order of the lines is the order of the events: times are only told to people, since recorders take them before they
//! write, and clocks go back. A file put together from several must be brought into order before.
//!
//! `fail` means that the call certainly had no effect, for whatever reason; it is never taken as an observation, since
//! recorders use it for refused calls as well as for a cas that did not match. A call that ends with `info`, or not
//! at all, may take effect any time after it was made, or never. What an `info` transaction says that it read counts if
//! somebody saw what it appended: then it took effect as a whole, reads included. Registers are absent (null), and
//! lists, texts, queues and sets empty at first; counters are 0.
//!
//! Keys are texts or whole numbers, and 1 is another key than `"1"`. Values are equal if they say the same: numbers of any
//! size are compared by their digits, never rounded.
//!
//! # Judging
//!
//! [`History::judge`] does it all; [`linearize`] judges calls of any sequential [`Model`] of your own.

mod checker;
mod datum;
mod edn;
mod event;
mod explanation;
mod file;
mod jepsen;
mod judgement;
mod linearizability;
mod micro;
mod model;
mod models;
mod object;
mod pairing;
mod transactions;

pub use checker::{Banks, Checker, Counters, Lists, Locks, Pending, Queues, Registers, Sets, Texts};
pub use event::{Event, EventKind, Function, Key};
pub use explanation::{Explanation, explain};
pub use file::{History, HistoryError, write_events};
pub use jepsen::{NilRead, Reading};
pub use judgement::{Finding, Judgement, Verdict};
pub use linearizability::{Budget, Linearization, Timed, linearize};
pub use model::{Model, Register, RegisterOperation};
pub use object::Kind;
