//! Small worlds, exhausted: the shipped cores under every order of events that a budget allows, with stateright.
//!
//! `cargo test -p quorate-verification --test models` explores small budgets. With `QUORATE_MODEL=full` (in release,
//! and with `--nocapture` to see the counts) it explores large ones.

mod check;
mod envelope;
mod memo;
mod model;
mod node;
mod register;
mod replicated_logs;
mod subject;
mod synod;
mod two_phase_commit;
