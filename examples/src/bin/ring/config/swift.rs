//! OpenStack Swift: a ring in a `.ring.gz` of version 1: a header in JSON, then for each replica the device of each
//! partition.

use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use quorate_consistent_hash::compat::{SwiftDevice, SwiftRing};
use quorate_consistent_hash::{Node, Weight};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::File;
use crate::algorithm::Built;
use crate::error::Failure;

/// A ring with the texts that the cluster hashes round each path.
pub(crate) struct SwiftCluster {
    pub(crate) ring: SwiftRing,
    pub(crate) prefix: Vec<u8>,
    pub(crate) suffix: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(deserialize_with = "devices")]
    devs: Vec<Option<Device>>,
    part_shift: u32,
    #[serde(default = "little")]
    byteorder: String,
}

#[derive(Deserialize)]
struct Device {
    ip: String,
    port: u32,
    #[serde(rename = "device")]
    disk: String,
    #[serde(default = "one")]
    region: u32,
    zone: u32,
    weight: f64,
}

/// The devices, of which there are no more than the two bytes of an entry can name. Each takes some hundred bytes, but
/// only five in the file if it is missing.
fn devices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<Device>>, D::Error> {
    struct Devices;

    impl<'de> Visitor<'de> for Devices {
        type Value = Vec<Option<Device>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of devices")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut devices: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(device) = devices.next_element()? {
                if all.len() == DEVICES_MAX {
                    return Err(A::Error::custom(format_args!("there are more than {DEVICES_MAX} devices")));
                }
                all.push(device);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_seq(Devices)
}

fn little() -> String {
    "little".into()
}

fn one() -> u32 {
    1
}

pub(super) fn read(file: &File<'_>, prefix: &[u8], suffix: &[u8]) -> Result<Built, Failure> {
    let mut bytes = Vec::new();
    // Enough for 16 replicas of 2^23 partitions, of two bytes each. A file of a few hundred kilobytes can say that it
    // holds as much.
    let decoded = MultiGzDecoder::new(file.bytes).take(BYTES_MAX).read_to_end(&mut bytes);
    let length = decoded.map_err(|error| file.refuse(format!("this is no gzip: {error}")))?;
    if length as u64 == BYTES_MAX {
        return Err(file.refuse("the ring is larger than 272 MiB, which is all that is read"));
    }
    let rest = bytes.strip_prefix(b"R1NG").ok_or_else(|| file.refuse("this is no ring of Swift"))?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(|| file.refuse(CUT))?;
    let version = u16::from_be_bytes(*version);
    if version != 1 {
        return Err(file.refuse(format!("the ring is of version {version}, only version 1 is read")));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| file.refuse(CUT))?;
    let length = u32::from_be_bytes(*length) as usize;
    let (header, table) = rest.split_at_checked(length).ok_or_else(|| file.refuse(CUT))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| file.refuse(format!("the header of the ring: {error}")))?;
    let power = 32_u32.checked_sub(header.part_shift).filter(|power| (1..=32).contains(power));
    let power = power.ok_or_else(|| file.refuse(format!("a part shift of {} is not possible", header.part_shift)))?;
    let little = match header.byteorder.as_str() {
        "little" => true,
        "big" => false,
        other => return Err(file.refuse(format!("{other:?} is no order of bytes"))),
    };
    if !table.len().is_multiple_of(2) {
        return Err(file.refuse(CUT));
    }
    let device = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        u32::from(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    if table.len().div_ceil(2 << power) > REPLICAS_MAX {
        return Err(file.refuse(format!("the ring has more than {REPLICAS_MAX} replicas, which is all that is read")));
    }
    let rows: Vec<Vec<u32>> = table.chunks(2 << power).map(|row| row.chunks_exact(2).map(device).collect()).collect();
    drop(bytes);
    let devs: Vec<_> = header.devs.into_iter().map(|device| device.map(Device::named)).collect();
    let ring = SwiftRing::new(power, &devs, &rows, prefix, suffix).map_err(|error| file.refuse(error.to_string()))?;
    Ok(Built::Swift(Box::new(SwiftCluster { ring, prefix: prefix.into(), suffix: suffix.into() })))
}

impl Device {
    /// The device as Swift's tools write it, `r1z1-10.0.0.1:6200/sda`.
    fn named(self) -> SwiftDevice {
        let host = if self.ip.contains(':') { format!("[{}]", self.ip) } else { self.ip.clone() };
        let zone = format!("r{}z{}", self.region, self.zone);
        let node = Node::new(format!("{zone}-{host}:{}/{}", self.port, self.disk))
            .with_weight(Weight::new(self.weight).unwrap_or_default())
            .with_zone(zone);
        SwiftDevice { node, region: self.region, zone: self.zone, ip: self.ip.into() }
    }
}

const DEVICES_MAX: usize = 1 << 16;
const REPLICAS_MAX: usize = 256;
const BYTES_MAX: u64 = (1 << 28) + (1 << 24);
const CUT: &str = "the ring is cut short";
