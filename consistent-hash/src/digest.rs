//! A digest over all content of a state, so that a damaged or mixed-up state is not accepted as a placement.

use alloc::vec::Vec;

use crate::hash::{Hasher, xxh64};
use crate::node::Node;

/// Collects the content to digest, so that different sequences of parts have different bytes.
#[derive(Default)]
pub(crate) struct Digest {
    bytes: Vec<u8>,
}

impl Digest {
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
        self
    }

    pub(crate) fn node(&mut self, node: &Node) -> &mut Self {
        self.text(node.name()).number(node.weight().units()).text(node.zone()).text(node.rack())
    }

    pub(crate) fn hasher(&mut self, hasher: Hasher) -> &mut Self {
        match hasher.key() {
            None => self.number(0),
            Some([low, high]) => self.number(1).number(low).number(high),
        }
    }

    pub(crate) fn finish(&self) -> u64 {
        xxh64(&self.bytes, 0)
    }
}
