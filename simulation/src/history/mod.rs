//! Histories of clients, and checks whether they were possible.
//!
//! A [`History`] is the calls of clients and their answers, under faults, on a simulated or a real cluster. It is
//! judged without knowledge of the system. Each object is judged by the demands of its [`ObjectKind`]: registers must
//! be *linearizable* (Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", TOPLAS
//! 1990), and transactions over lists *strictly serializable*. The calls on an object decide its kind.
//!
//! # In a test
//!
//! A [`Checker`] records the calls of a test and judges them: see its example.
//!
//! # The file
//!
//! JSON lines, one [`HistoryEvent`] each, in Jepsen's terms:
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
//! Files from Jepsen are read as well, and are recognised by their content: `history.edn`, the histories of Knossos and
//! Elle, logs of the console, and the files in Porcupine's tests. [`Reading`] has settings for what such files leave
//! open. Anything unknown is an error that names the line: no operation of a client is skipped.
//!
//! The order of the lines is the order of the events. Times are for people only, because recorders take them before
//! they write, and clocks go back. A file put together from several must be sorted first.
//!
//! `fail` means that the call certainly had no effect, for whatever reason. It is never taken as an observation,
//! because recorders use it for refused calls as well as for a cas that did not match. A call that ends with `info`, or
//! does not end, may take effect at any time after it was made, or never. The reads of an `info` transaction count if
//! another transaction saw what it appended: then it took effect as a whole, reads included. At first registers are
//! absent (null); lists, texts, queues and sets are empty; counters are 0.
//!
//! Keys are texts or whole numbers, and 1 is another key than `"1"`. Values are equal if they mean the same. Numbers of
//! any size are compared by their digits, never rounded.
//!
//! # Judging
//!
//! [`History::judge`] does all of this. [`linearize`] judges calls of your own sequential [`Model`].

mod checker;
mod datum;
mod edn;
mod event;
mod explanation;
mod file;
mod finding;
mod jepsen;
mod judgement;
mod linearizability;
mod micro;
mod model;
mod models;
mod object;
mod pairing;
mod recorded;
mod transactions;

pub use checker::{Banks, Checker, Counters, Lists, Locks, PendingCall, Queues, Registers, Sets, Texts};
pub use event::{EventKind, Function, HistoryEvent, Key};
pub use explanation::{Explanation, explain};
pub use file::{History, write_events};
pub use finding::Finding;
pub use jepsen::{NilRead, Reading};
pub use judgement::{Judgement, Verdict};
pub use linearizability::{Linearization, SearchBudget, Timed, linearize};
pub use model::{Model, Register, RegisterOperation};
pub use object::ObjectKind;
pub use recorded::HistoryError;
