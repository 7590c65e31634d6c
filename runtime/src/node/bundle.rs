//! Outgoing frames. Small frames of several groups to one peer leave as one frame.

use bytes::{Bytes, BytesMut};
use quorate_protocol::GroupId;
use quorate_transport::{ChannelId, Frame, Lane, SECTIONS_MAX, codec};

use super::interface::Origin;
use super::message::{Bundle, Bundled, is_of_group};

/// Frames of one turn to one peer, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: Vec<Frame>,
}

/// One frame to send, with the number of groups' frames in it.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) frame: Frame,
    pub(super) frames: usize,
    pub(super) origin: Origin,
}

impl Outgoing {
    pub(super) fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Packs the pushed frames: runs of small frames become bundles. The frames leave in the order in which they were
    /// pushed. Bundles travel on the lane of the frames that go alone and arrive in the same inbox, so the order of a
    /// group's frames within a lane is kept.
    pub(super) fn pack(&mut self) -> Vec<Packed> {
        let mut packed = Vec::with_capacity(self.frames.len().min(FRAMES_GUESS));
        let mut run = Vec::new();
        let mut run_bytes = 0;
        for frame in self.frames.drain(..) {
            if frame.channel().lane() == Lane::Bulk || frame.channel() == ChannelId::NODE {
                packed.push(Packed::single(frame));
                continue;
            }
            let bytes = frame.body_bytes();
            if bytes > SMALL_BYTES_MAX || run_bytes + bytes > BUNDLE_BYTES_MAX {
                close(&mut run, &mut packed);
                run_bytes = 0;
            }
            if bytes > SMALL_BYTES_MAX {
                packed.push(Packed::single(frame));
            } else {
                run_bytes += bytes;
                run.push(frame);
            }
        }
        close(&mut run, &mut packed);
        packed
    }
}

impl Packed {
    fn single(frame: Frame) -> Self {
        let is_own = frame.channel() == ChannelId::NODE;
        let origin = if is_own { Origin::Node } else { Origin::Group(frame.group()) };
        Self { frame, frames: usize::from(!is_own), origin }
    }
}

/// Returns the frames of a bundle, or `None` if a length does not fit, which no correct peer sends. Their sections are
/// slices of the bundle.
pub(super) fn unpack(frames: &[Bundled], mut bytes: Bytes) -> Option<Vec<Frame>> {
    let mut unpacked = Vec::with_capacity(frames.len().min(FRAMES_GUESS));
    for bundled in frames {
        let channel = ChannelId(bundled.channel);
        if !is_of_group(channel) || channel.lane() == Lane::Bulk || bundled.raw.len() > SECTIONS_MAX {
            return None;
        }
        let small = take(&mut bytes, bundled.small)?;
        let raw = bundled.raw.iter().map(|length| take(&mut bytes, *length)).collect::<Option<Vec<_>>>()?;
        unpacked.push(Frame::new(channel, bundled.group, small, raw).ok()?);
    }
    bytes.is_empty().then_some(unpacked)
}

/// Decodes a frame between nodes as any peer may send it: a message, or a bundle of frames of groups. Returns false if
/// no correct peer sends it.
#[cfg(feature = "testing")]
pub fn decode_node_frame(frame: Frame) -> bool {
    use quorate_transport::codec::decode_small;
    let is_bundle = frame.channel() == ChannelId::BUNDLES;
    let (small, raw) = frame.into_sections();
    match raw.as_slice() {
        [bytes] if is_bundle => decode_small::<super::message::Bundle>(&small)
            .is_ok_and(|bundle| unpack(&bundle.frames, bytes.clone()).is_some()),
        [] => decode_small::<super::message::NodeMessage>(&small).is_ok(),
        _ => false,
    }
}

fn take(bytes: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = usize::try_from(length).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn close(run: &mut Vec<Frame>, packed: &mut Vec<Packed>) {
    if run.len() < BUNDLE_FRAMES_MIN {
        packed.extend(run.drain(..).map(Packed::single));
        return;
    }
    let count = run.len();
    let mut body = BytesMut::with_capacity(run.iter().map(Frame::body_bytes).sum());
    let mut frames = Vec::with_capacity(count);
    for frame in run.drain(..) {
        body.extend_from_slice(frame.small());
        frame.raw().iter().for_each(|section| body.extend_from_slice(section));
        frames.push(Bundled {
            channel: frame.channel().0,
            group: frame.group(),
            small: length(frame.small()),
            raw: frame.raw().iter().map(length).collect(),
        });
    }
    let small = codec::encode_small(&Bundle { frames }).expect("a bundle is bounded");
    let frame = Frame::new(ChannelId::BUNDLES, GroupId(0), small, vec![body.freeze()]).expect("a bundle is bounded");
    packed.push(Packed { frame, frames: count, origin: Origin::Groups });
}

fn length(section: &Bytes) -> u32 {
    u32::try_from(section.len()).expect("a small frame's section is small")
}

/// Below this size the copy of a frame costs less than a header, a checksum and a queue entry.
const SMALL_BYTES_MAX: usize = 1 << 10;
/// For fewer frames the transport's own coalescing is as good.
const BUNDLE_FRAMES_MIN: usize = 3;
const BUNDLE_BYTES_MAX: usize = 64 << 10;
const FRAMES_GUESS: usize = 1024;
