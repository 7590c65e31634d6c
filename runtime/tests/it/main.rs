//! Behaviour through the public interface.

mod applying;
mod catching_up;
mod cluster;
mod data_directory;
mod incarnations;
mod ledger;
mod measured;
mod outcomes;
mod random;
mod reads;
mod rounds;
mod scripted;
mod server;
mod sessions;
mod store;
mod thousand;
mod ticks;
mod world;
