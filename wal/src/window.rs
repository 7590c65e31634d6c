//! Reads a file through a buffer that is much smaller than it.

use std::io;

use crate::disk::DiskFile;

/// A moving view of a file.
pub(crate) struct Window<'a, F> {
    file: &'a F,
    buffer: Vec<u8>,
    start: u64,
    /// Minimum number of bytes that are read at once.
    step: usize,
}

impl<'a, F: DiskFile> Window<'a, F> {
    pub(crate) fn new(file: &'a F, step: usize) -> Self {
        Self { file, buffer: Vec::new(), start: 0, step }
    }

    /// The `length` bytes at `offset`, or fewer if the file ends before.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let is_held = offset >= self.start && offset + length as u64 <= self.start + self.buffer.len() as u64;
        if !is_held {
            self.buffer.resize(length.max(self.step), 0);
            let read = self.file.read_at(offset, &mut self.buffer)?;
            self.buffer.truncate(read);
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).expect("within the buffer");
        let end = self.buffer.len().min(from + length);
        Ok(&self.buffer[from..end])
    }
}
