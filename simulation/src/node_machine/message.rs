//! Messages between nodes: frames, as they travel over the real transport.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use quorate_protocol::Random;
use quorate_transport::{ChannelId, Frame};

use crate::flipped::flip_bit_of_entries;

/// A frame on its way. The copies that the network makes of a frame share one flag.
#[derive(Clone)]
pub struct NodeFrame {
    pub(super) frame: Frame,
    has_arrived: Rc<Cell<bool>>,
    /// Describes the frame for traces.
    describe: fn(&Frame) -> String,
}

impl NodeFrame {
    pub(super) fn new(frame: Frame, describe: fn(&Frame) -> String) -> Self {
        Self { frame, has_arrived: Rc::default(), describe }
    }

    /// Flips a bit of an entry that the frame carries for a core.
    pub(super) fn flip_bit(&mut self, random: &mut Random) -> bool {
        let frame = &self.frame;
        let [section] = frame.raw() else { return false };
        if frame.channel() < ChannelId::FIRST_CORE {
            return false;
        }
        let Some(flipped) = flip_bit_of_entries(section, random) else { return false };
        let frame = Frame::new(frame.channel(), frame.group(), frame.small().clone(), vec![flipped]);
        self.frame = frame.expect("as long as before");
        true
    }

    /// The frame if the transport may deliver it, which it may once. Frames for cores are delivered again, because
    /// cores must tolerate more than the transport does.
    pub(super) fn arrive(self) -> Option<Frame> {
        let is_copy = self.has_arrived.replace(true);
        (!is_copy || self.frame.channel() >= ChannelId::FIRST_CORE).then_some(self.frame)
    }
}

impl Hash for NodeFrame {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let frame = &self.frame;
        (frame.channel().0, frame.group().0, frame.body_bytes(), frame.checksum()).hash(state);
    }
}

impl fmt::Debug for NodeFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.describe)(&self.frame))
    }
}
