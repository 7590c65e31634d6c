//! The limit: a bare loop of `write` and `fdatasync` on a file of zeros.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{ENTRY_BYTES, Failure, Log};

/// A file of zeros that is written from its start to its end, again and again.
pub struct Raw {
    file: File,
    offset: AtomicU64,
}

impl Raw {
    /// Makes the file.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)?;
        for offset in (0..FILE_BYTES).step_by(PART_BYTES) {
            file.write_all_at(&[0; PART_BYTES], offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, offset: AtomicU64::new(0) })
    }
}

impl Log for Raw {
    fn append(&self, _: usize, entries: usize) -> Result<(), Failure> {
        let content = vec![7; ENTRY_BYTES * entries];
        let offset = self.offset.fetch_add(content.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(&content, offset % (FILE_BYTES - content.len() as u64))?;
        Ok(self.file.sync_data()?)
    }
}

const FILE_BYTES: u64 = 64 << 20;
const PART_BYTES: usize = 64 << 10;
