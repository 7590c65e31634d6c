//! Changes bytes on disk and makes the checksums match again, so that tests reach code that checksums protect.

use quorate_wal::disk::MemoryDisk;

use crate::support::*;

pub(crate) const PAGE: usize = 4096;
const HEADER: usize = 56;
const COMMIT: u8 = 2;

/// Offsets of the records of the batch at `start`, computed from their lengths.
pub(crate) fn records(bytes: &[u8], start: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = start;
    while at + HEADER <= bytes.len() {
        if !at.is_multiple_of(PAGE) && bytes[at..at + 8] == [0; 8] {
            at = at.next_multiple_of(PAGE);
            continue;
        }
        found.push(at);
        if bytes[at + 4] == COMMIT {
            break;
        }
        at += (HEADER + number_32(bytes, at) as usize).next_multiple_of(8);
    }
    found
}

/// Makes every checksum of the batch at `start` match, behind a record whose header CRC is `chain`. Returns the header
/// CRC of its last record.
pub(crate) fn reseal_batch(bytes: &mut [u8], segment: u64, start: usize, mut chain: u32) -> u32 {
    for at in records(bytes, start) {
        let length = number_32(bytes, at) as usize;
        let crc = match bytes.get(at + HEADER..at + HEADER + length) {
            _ if bytes[at + 4] == COMMIT => crc32c::crc32c(&bytes[start..at]),
            Some(payload) => crc32c::crc32c(payload),
            None => return chain,
        };
        put_32(bytes, at + 40, crc);
        put_32(bytes, at + 44, chain);
        chain = reseal_record(bytes, segment, at);
    }
    chain
}

/// Returns true if a record was written for this place.
pub(crate) fn is_record(bytes: &[u8], segment: u64, at: usize) -> bool {
    number_32(bytes, at + 48) == place_crc(bytes, segment, at)
}

/// Makes the header CRC of the record at `at` match, and returns it.
pub(crate) fn reseal_record(bytes: &mut [u8], segment: u64, at: usize) -> u32 {
    let crc = place_crc(bytes, segment, at);
    put_32(bytes, at + 48, crc);
    crc
}

fn place_crc(bytes: &[u8], segment: u64, at: usize) -> u32 {
    let mut covered = bytes[at..at + 48].to_vec();
    covered.extend_from_slice(&segment.to_le_bytes());
    covered.extend_from_slice(&(at as u64).to_le_bytes());
    crc32c::crc32c(&covered)
}

/// Makes every checksum of a segment match, and returns the header CRC of its last record.
pub(crate) fn reseal_segment(bytes: &mut [u8], segment: u64, chain: u32) -> u32 {
    if bytes.len() < PAGE {
        return chain;
    }
    put_32(bytes, 84, chain);
    reseal_header(bytes);
    let (mut chain, mut at) = (chain, PAGE);
    while at + HEADER <= bytes.len() && bytes[at + 4] == 1 {
        chain = reseal_batch(bytes, segment, at, chain);
        let last = records(bytes, at).pop().unwrap_or(at);
        at = (last + HEADER).next_multiple_of(PAGE);
    }
    chain
}

/// Makes the CRC of a segment's header match.
pub(crate) fn reseal_header(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[..88]);
    put_32(bytes, 88, crc);
}

/// Makes the CRC of a checkpoint match.
pub(crate) fn reseal_checkpoint(bytes: &mut [u8]) {
    if let Some(crc) = checkpoint_crc(bytes) {
        put_32(bytes, 24, crc);
    }
}

/// Returns true if a checkpoint's CRC matches.
pub(crate) fn is_checkpoint(bytes: &[u8]) -> bool {
    checkpoint_crc(bytes).is_some_and(|crc| crc == number_32(bytes, 24))
}

fn checkpoint_crc(bytes: &[u8]) -> Option<u32> {
    let length = usize::try_from(number_64(bytes.get(..32)?, 16)).ok()?;
    Some(crc32c::crc32c_append(crc32c::crc32c(&bytes[..24]), bytes.get(32..length)?))
}

/// Makes every checksum of a log match.
pub(crate) fn reseal_log(disk: &MemoryDisk) {
    let mut chain = None;
    for name in names(disk, "segment-") {
        let path = format!("log/{name}");
        let mut bytes = disk.content(&path).expect("just listed");
        let id = u64::from_str_radix(&name["segment-".len()..], 16).expect("a segment's name");
        let before = chain.unwrap_or_else(|| if bytes.len() < PAGE { 0 } else { number_32(&bytes, 84) });
        chain = Some(reseal_segment(&mut bytes, id, before));
        disk.replace(&path, &bytes);
    }
    for name in names(disk, "checkpoint-") {
        let path = format!("log/{name}");
        let mut bytes = disk.content(&path).expect("just listed");
        if bytes.len() >= 32 {
            reseal_checkpoint(&mut bytes);
            disk.replace(&path, &bytes);
        }
    }
}

pub(crate) fn number_32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn number_64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn put_32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}
