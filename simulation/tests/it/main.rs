//! The public surface under test.

mod campaigns;
mod endings;
mod fault_effects;
mod history_generator;
mod jepsen_histories;
mod model_histories;
mod notebook;
mod probe;
mod register_histories;
mod transaction_histories;
