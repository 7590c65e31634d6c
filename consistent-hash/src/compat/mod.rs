//! Placement as other programs do it, bit for bit; golden tables from those programs pin it.

mod checksum;
mod maglev;
mod md5;
mod partitions;
mod ring;
mod server;
mod slots;

pub use maglev::EnvoyMaglev;
pub use partitions::Partitions;
pub use ring::{CompatRing, EnvoyHash, EnvoyRing};
pub use slots::{REDIS_SLOTS, RedisSlots, redis_slot};
