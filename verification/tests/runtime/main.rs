//! The shipped runtime with a real protocol: replicas, nodes and servers, through their public interface.

mod bound;
mod bound_bench;
mod bound_commit;
mod bound_manager;
mod bound_random;
mod bound_server;
mod catching_up;
mod cluster;
mod explained;
mod incarnations;
mod measured;
mod operated;
mod outcomes;
mod random;
mod reads;
mod resting;
mod rounds;
mod server;
mod sessions;
mod stored;
mod thousand;
mod ticks;
mod world;
