//! Encoded frames on their way into a socket.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::Incarnation;

use crate::frame::Frame;
use crate::wire;

/// Whole frames as a list of byte runs. Short runs are copied together into a buffer that is used again; long ones are
/// written from where they are.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Runs in order. The first may be partly written.
    runs: VecDeque<Bytes>,
    /// Bytes after the runs.
    tail: BytesMut,
    /// Number of bytes in both.
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

    /// Appends bytes that continue a frame or are a whole frame.
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

    /// Number of bytes still to be written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fills `slices` with the first bytes to be written, and returns the number of slices used.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let runs = self.runs.iter().map(|run| &run[..]).chain(tail);
        slices.iter_mut().zip(runs).map(|(slice, run)| *slice = IoSlice::new(run)).count()
    }

    /// Removes the bytes that were written.
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

    /// Drops everything, and frees a buffer that one burst made large.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Up to this length a copy costs less than another slice in the system call.
const COPIED_BYTES_MAX: usize = 8 << 10;
