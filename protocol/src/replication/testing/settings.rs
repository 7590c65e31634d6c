//! Settings with small bounds.

use crate::Random;
use crate::replication::Settings;

/// Small bounds, so that a short run reaches every one of them. In every second run (by the seed) a message holds only
/// a few entries: a log that lags then catches up in many steps, with possible faults between any two.
pub fn small_settings(seed: u64) -> Settings {
    let batch_bytes_max = if Random::new(seed).between(0, 2) == 0 { 500 } else { 2_000 };
    Settings {
        entry_bytes_max: 500,
        batch_bytes_max,
        window_bytes_max: 4 * batch_bytes_max,
        uncommitted_bytes_max: 20_000,
        received_bytes_max: 8_000,
        cache_bytes_max: 4_000,
        reads_max: 100,
        held_messages_max: 100,
        ..Settings::default()
    }
}
