//! The public surface under test.

mod history_generator;
mod register_histories;
mod transaction_histories;
