//! The first sector of a segment file.

use bytes::{Buf, BufMut};
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};

use super::layout::{ALIGNMENT, ALIGNMENT_BYTES, FORMAT_VERSION, NUMBER_MAX};

/// The header of a segment.
///
/// ```text
///   0  magic "QRTE-WAL"   8
///   8  format version     4     12  feature bits           4
///  16  cluster           16     32  node                   8
///  40  incarnation       16     56  segment id             8
///  64  first LSN          8     72  bytes of the file      8
///  80  alignment          4     84  chain CRC before it    4
///  88  header CRC         4     92  zero up to 4096
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    pub(crate) id: u64,
    /// Lower bound of the LSN of the segment's first record.
    pub(crate) first_lsn: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// The header CRC of the last record of the segment before.
    pub(crate) chain: u32,
}

/// Reason why the header of a segment or checkpoint is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Written by a newer version of the format.
    Newer { version: u32 },
    /// Needs features that this binary lacks.
    Features { bits: u32 },
    /// Written with another identity: the class of the field, the expected and the found value.
    Foreign { field: &'static str, expected: String, found: String },
    /// The bytes are not those that were written; the class of the first field that looks wrong.
    Damaged { field: &'static str },
}

impl SegmentHeader {
    /// The whole first sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ALIGNMENT);
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(FEATURES);
        out.put_u128_le(self.identity.cluster.0);
        out.put_u64_le(self.identity.node.0);
        out.put_u128_le(self.identity.incarnation.0);
        out.put_u64_le(self.id);
        out.put_u64_le(self.first_lsn);
        out.put_u64_le(self.bytes);
        out.put_u32_le(u32::try_from(ALIGNMENT).expect("a page"));
        out.put_u32_le(self.chain);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.resize(ALIGNMENT, 0);
        out
    }

    /// The header in the first sector of a file that should be segment `id` of `expected`.
    pub(crate) fn decode(sector: &[u8], id: u64, expected: &Identity) -> Result<Self, HeaderError> {
        if sector.len() < ALIGNMENT || sector[..MAGIC.len()] != *MAGIC {
            return Err(HeaderError::Damaged { field: "magic" });
        }
        let stored = (&sector[CRC_AT..]).get_u32_le();
        let mut rest = &sector[MAGIC.len()..CRC_AT];
        let (version, features) = (rest.get_u32_le(), rest.get_u32_le());
        let identity = Identity {
            cluster: ClusterId(rest.get_u128_le()),
            node: NodeId(rest.get_u64_le()),
            incarnation: Incarnation(rest.get_u128_le()),
        };
        let header = Self {
            identity,
            id: rest.get_u64_le(),
            first_lsn: rest.get_u64_le(),
            bytes: rest.get_u64_le(),
            chain: (&rest[4..]).get_u32_le(),
        };
        let alignment = rest.get_u32_le();
        if stored != crc32c::crc32c(&sector[..CRC_AT]) {
            let field = header.suspect(version, features, alignment, id, expected);
            return Err(HeaderError::Damaged { field });
        }
        check_version(version, features)?;
        check_identity(&header.identity, expected)?;
        if header.id != id {
            return Err(HeaderError::Foreign {
                field: "segment id",
                expected: id.to_string(),
                found: header.id.to_string(),
            });
        }
        if sector[CRC_AT + 4..ALIGNMENT].iter().any(|byte| *byte != 0) {
            return Err(HeaderError::Damaged { field: "padding" });
        }
        let is_sound = u64::from(alignment) == ALIGNMENT_BYTES
            && is_segment_size(header.bytes)
            && header.id.max(header.first_lsn) <= NUMBER_MAX / 2;
        if is_sound { Ok(header) } else { Err(HeaderError::Damaged { field: "geometry" }) }
    }

    /// The identity in the header, if the header's CRC matches.
    #[cfg(feature = "inspect")]
    pub(crate) fn owner(sector: &[u8]) -> Option<Identity> {
        let covered = sector.get(..CRC_AT).filter(|covered| covered.starts_with(MAGIC))?;
        let stored = sector.get(CRC_AT..)?.try_get_u32_le().ok()?;
        let mut rest = &covered[MAGIC.len() + 8..];
        (stored == crc32c::crc32c(covered)).then(|| Identity {
            cluster: ClusterId(rest.get_u128_le()),
            node: NodeId(rest.get_u64_le()),
            incarnation: Incarnation(rest.get_u128_le()),
        })
    }

    /// The class of the first field that cannot be right, in a header whose CRC does not match.
    fn suspect(&self, version: u32, features: u32, alignment: u32, id: u64, expected: &Identity) -> &'static str {
        let classes = [
            (version != FORMAT_VERSION, "version"),
            (features & !FEATURES != 0, "features"),
            (self.identity.cluster != expected.cluster, "cluster"),
            (self.identity.node != expected.node, "node"),
            (self.identity.incarnation != expected.incarnation, "incarnation"),
            (self.id != id, "segment id"),
            (u64::from(alignment) != ALIGNMENT_BYTES || !is_segment_size(self.bytes), "geometry"),
        ];
        classes.iter().find(|(wrong, _)| *wrong).map_or("sequence, chain or checksum", |(_, field)| *field)
    }
}

/// Checks that this binary reads the format version, and has all features. Releases count their versions from 1.
pub(super) fn check_version(version: u32, features: u32) -> Result<(), HeaderError> {
    match version {
        0 => Err(HeaderError::Damaged { field: "version" }),
        1..=FORMAT_VERSION if features & !FEATURES == 0 => Ok(()),
        1..=FORMAT_VERSION => Err(HeaderError::Features { bits: features & !FEATURES }),
        _ => Err(HeaderError::Newer { version }),
    }
}

/// Checks that data belong to the identity that opens them.
pub(super) fn check_identity(found: &Identity, expected: &Identity) -> Result<(), HeaderError> {
    let foreign = |field, expected: String, found: String| Err(HeaderError::Foreign { field, expected, found });
    if found.cluster != expected.cluster {
        return foreign("cluster", expected.cluster.to_string(), found.cluster.to_string());
    }
    if found.node != expected.node {
        return foreign("node", expected.node.to_string(), found.node.to_string());
    }
    if found.incarnation != expected.incarnation {
        return foreign("incarnation", expected.incarnation.to_string(), found.incarnation.to_string());
    }
    Ok(())
}

fn is_segment_size(bytes: u64) -> bool {
    bytes.is_multiple_of(ALIGNMENT_BYTES) && (2 * ALIGNMENT_BYTES..=u64::from(u32::MAX)).contains(&bytes)
}

const MAGIC: &[u8; 8] = b"QRTE-WAL";
const FEATURES: u32 = 0;
const CRC_AT: usize = 88;
