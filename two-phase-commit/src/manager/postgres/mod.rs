//! PostgreSQL as a resource.

mod connection;
mod driver;
mod resource;
mod session;
mod set_up;

pub use resource::{Postgres, PostgresDriver};
pub use session::PostgresSession;
pub use set_up::PostgresSetUpError;
