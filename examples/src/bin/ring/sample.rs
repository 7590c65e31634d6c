//! The keys on which load is measured, and their hashes.

use quorate_consistent_hash::KeyHash;
use quorate_consistent_hash::compat::{CompatRing, REDIS_SLOTS};

use crate::Sampling;
use crate::algorithm::Built;
use crate::error::Failure;
use crate::input::{lines, read};

/// A decimal number, taken as a hash of this placement.
pub(crate) fn numeric(built: &Built, line: &[u8]) -> Result<KeyHash, String> {
    let text = String::from_utf8_lossy(line);
    let number: u64 = text.trim().parse().map_err(|_| format!("{text:?} is not a number of 64 bits"))?;
    match built {
        Built::Compat(ring) if !ring.system().is_64_bit() => u32::try_from(number)
            .map(CompatRing::key_hash)
            .map_err(|_| format!("{number} is above 32 bits, which is all the system hashes to")),
        Built::Pymemcache(_) => Err("pymemcache has no hash of a key alone".into()),
        Built::Slots(_) if number >= u64::from(REDIS_SLOTS) => Err(format!("{number} is not a slot")),
        _ => Ok(KeyHash(number)),
    }
}

/// The keys on which load is measured, for callers that hash them.
pub(crate) fn keys(sampling: &Sampling) -> Result<Vec<Vec<u8>>, Failure> {
    match &sampling.keys {
        None => Ok((0..sampling.samples).map(|i| i.to_string().into_bytes()).collect()),
        Some(path) => Ok(lines(&read(path)?).map(|(_, key)| key.to_vec()).collect()),
    }
}

/// The hashes on which load is measured.
pub(crate) fn hashes(sampling: &Sampling, built: &Built) -> Result<Vec<KeyHash>, Failure> {
    let placement = built.placement();
    let Some(path) = &sampling.keys else {
        return Ok((0..sampling.samples).map(|i| placement.hash(i.to_string().as_bytes())).collect());
    };
    let bytes = read(path)?;
    let hash = |(line, key): (usize, &[u8])| {
        if sampling.numeric {
            numeric(built, key).map_err(|reason| Failure::Line { path: path.clone(), line, reason })
        } else {
            Ok(placement.hash(key))
        }
    };
    lines(&bytes).map(hash).collect()
}
