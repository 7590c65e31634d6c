//! Settings under which bounds are met.

use quorate_protocol::Random;

use crate::Settings;

/// Small bounds, so that every one of them is met in a short run. In every second one (by the seed) entries travel a
/// few at a time: a log that lags is then caught up in many steps, and something may go wrong between any two.
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
