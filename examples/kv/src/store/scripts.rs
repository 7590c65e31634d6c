//! The scripts that clients call by their SHA-1. They are part of the state, so that a call has the same result on
//! every replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest::{digest, mix};
use super::libraries::Libraries;

/// Scripts by the hexadecimal digits of their SHA-1. Cloning shares the texts.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    by_sha: BTreeMap<Box<str>, Arc<[u8]>>,
    bytes: usize,
    libraries: Libraries,
}

impl Scripts {
    pub(super) fn get(&self, sha: &str) -> Option<Arc<[u8]>> {
        self.by_sha.get(sha).cloned()
    }

    /// Returns false if the scripts would take up too much, and keeps those before.
    pub(super) fn add(&mut self, sha: &str, script: &[u8]) -> bool {
        if self.by_sha.contains_key(sha) {
            return true;
        }
        let bytes = self.bytes + script.len() + SCRIPT_BYTES;
        if bytes > SCRIPTS_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.by_sha.insert(sha.into(), script.into());
        true
    }

    /// Forgets the scripts, and no library.
    pub(super) fn clear(&mut self) {
        self.by_sha.clear();
        self.bytes = 0;
    }

    /// The libraries of functions.
    pub(super) fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    pub(super) fn libraries_mut(&mut self) -> &mut Libraries {
        &mut self.libraries
    }

    pub(super) fn len(&self) -> usize {
        self.by_sha.len()
    }

    /// SHA-1 and text of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.by_sha.iter().map(|(sha, script)| (&**sha, &**script))
    }

    /// 0 without scripts and libraries.
    pub(super) fn digest(&self) -> u64 {
        self.iter().fold(self.libraries.digest(), |sum, (sha, script)| {
            sum.wrapping_add(mix(digest(sha.as_bytes()), digest(script)))
        })
    }
}

/// Maximum bytes of all scripts.
const SCRIPTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a script besides its text.
const SCRIPT_BYTES: usize = 128;
