//! Behaviour through the public interface.

mod incarnations;
mod thousand;
mod world;
