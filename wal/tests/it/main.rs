//! The log's behaviour, through its public API. Tests named `rule_NN_` show one rule of the log each.

mod basics;
mod craft;
mod durability;
mod format;
mod golden;
mod inspect;
mod model;
mod random;
mod recovery;
mod shared;
mod slow;
mod support;
mod threads;
