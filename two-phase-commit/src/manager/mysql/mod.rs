//! MariaDB as a resource.

mod connection;
mod driver;
mod resource;
mod session;
mod set_up;

pub use resource::{Mysql, MysqlDriver};
pub use session::MysqlSession;
pub use set_up::MysqlSetUpError;
