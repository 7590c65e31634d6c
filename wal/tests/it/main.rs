//! The log's behaviour, through its public API. Tests named `rule_NN_` show one rule of the log each.

mod basics;
mod craft;
mod durability;
mod extremes;
mod format;
mod fuzz;
mod golden;
mod history;
mod inspect;
mod model;
mod mutation;
mod opening;
mod shared;
mod simulation;
mod slow;
mod support;
mod threads;
