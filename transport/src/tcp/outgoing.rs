//! Frames on their way into a socket.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::Incarnation;

use crate::{Frame, wire};

/// Whole frames as a list of byte runs: what is short is copied together into a buffer that is used again and again,
/// what is long is written from where it lies.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Runs in order; the first may be partly written.
    runs: VecDeque<Bytes>,
    /// What follows the runs.
    tail: BytesMut,
    /// Bytes in both.
    bytes: usize,
}

impl Outgoing {
    /// Appends a frame.
    pub(super) fn put_frame(&mut self, frame: &Frame, incarnation: Incarnation) {
        let before = self.tail.len();
        wire::put_head(frame, incarnation, &mut self.tail);
        self.bytes += self.tail.len() - before;
        self.put_bytes(frame.small());
        for section in frame.raw() {
            self.put_bytes(section);
        }
    }

    /// Appends bytes that continue, or are, a frame.
    pub(super) fn put_bytes(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        if bytes.len() <= COPIED_BYTES_MAX {
            self.tail.put_slice(bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.runs.push_back(self.tail.split().freeze());
        }
        self.runs.push_back(bytes.clone());
    }

    /// How many bytes are still to be written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first bytes to be written, in as many slices as `slices` has room for. Says how many it filled.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let runs = self.runs.iter().map(|run| &run[..]).chain(tail);
        slices.iter_mut().zip(runs).map(|(slice, run)| *slice = IoSlice::new(run)).count()
    }

    /// Takes off what was written.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.runs.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.runs.pop_front();
        }
        if written == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(written);
        }
    }

    /// Forgets everything, and gives back a buffer that one burst made large.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Up to here a copy costs less than another slice in the system call.
const COPIED_BYTES_MAX: usize = 8 << 10;
