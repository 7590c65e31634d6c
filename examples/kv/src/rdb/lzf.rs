//! Strings that `LibLZF` compressed.

/// Returns true if this many bytes can have become `whole` bytes: three bytes stand for 264 at most.
pub(super) fn is_possible(packed: u64, whole: u64) -> bool {
    whole <= packed.saturating_mul(BYTES_A_BYTE_MAX)
}

/// What was compressed, if it has this length.
pub(super) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((control, after)) = rest.split_first() {
        let control = usize::from(*control);
        if control < 32 {
            let (plain, after) = after.split_at_checked(control + 1)?;
            bytes.extend_from_slice(plain);
            rest = after;
        } else {
            let (more, after) = if control >> 5 == 7 { after.split_first()? } else { (&0, after) };
            let (low, after) = after.split_first()?;
            let count = (control >> 5) + usize::from(*more) + 2;
            let from = bytes.len().checked_sub(((control & 31) << 8) + usize::from(*low) + 1)?;
            // It may reach into what it appends.
            for at in from..from + count {
                bytes.push(bytes[at]);
            }
            rest = after;
        }
        if bytes.len() > length {
            return None;
        }
    }
    (bytes.len() == length).then_some(bytes)
}

const BYTES_A_BYTE_MAX: u64 = 264 / 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_is_made_again() {
        let long = b"\x01aa\xe0\xff\x00\xe0\x19\x00";
        assert_eq!(unpack(long, 300), Some(vec![b'a'; 300]));
        assert_eq!(unpack(long, 299), None);
        assert_eq!(unpack(long, 301), None);
        assert_eq!(unpack(&long[..8], 300), None);
        assert_eq!(unpack(b"\x20\x00", 5), None, "it reaches before the start");
        assert!(is_possible(3, 264) && !is_possible(3, 265));
    }
}
