//! The state of registers and lists.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{RegisterRequest, Response};
use crate::trace::TraceHasher;
use crate::world::ClientAnswer;

/// Registers and lists with their current values.
#[derive(Clone, Debug, Default)]
pub struct RegisterState {
    values: BTreeMap<u8, u64>,
    lists: BTreeMap<u64, Vec<u64>>,
    /// The sum over all registers and lists, updated with each change.
    digest: u64,
}

impl RegisterState {
    /// A digest of the state. Equal states have equal digests.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The value of a register; zero if it was never written.
    #[must_use]
    pub fn register(&self, key: u8) -> u64 {
        self.values.get(&key).copied().unwrap_or(0)
    }

    /// Applies a request.
    pub fn apply(&mut self, request: &RegisterRequest) -> ClientAnswer<Response> {
        let mut response = Response::default();
        match request {
            RegisterRequest::Read { key } => response.value = self.register(*key),
            RegisterRequest::Write { key, value } => self.write(*key, *value),
            RegisterRequest::Cas { key, old, new } if self.register(*key) == *old => self.write(*key, *new),
            RegisterRequest::Cas { .. } => return ClientAnswer::NotDone,
            RegisterRequest::Txn { steps } => {
                for (list, appended) in steps {
                    match appended {
                        Some(value) => self.append(*list, *value),
                        None => response.lists.push(self.lists.get(list).cloned().unwrap_or_default()),
                    }
                }
            }
        }
        ClientAnswer::Done(response)
    }

    /// Approximate number of bytes of the state when it is sent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let elements: usize = self.lists.values().map(Vec::len).sum();
        9 * self.values.len() + 8 * (self.lists.len() + elements)
    }

    /// Encodes the state for a snapshot.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.bytes());
        out.put_u64_le(self.digest);
        out.put_u64_le(self.values.len() as u64);
        for (key, value) in &self.values {
            out.put_u8(*key);
            out.put_u64_le(*value);
        }
        for (list, elements) in &self.lists {
            out.put_u64_le(*list);
            out.put_u64_le(elements.len() as u64);
            for element in elements {
                out.put_u64_le(*element);
            }
        }
        out.freeze()
    }

    /// Decodes a state that [`RegisterState::encode`] encoded; `None` for other bytes.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut registers = Self { digest: bytes.try_get_u64_le().ok()?, ..Self::default() };
        for _ in 0..bytes.try_get_u64_le().ok()? {
            registers.values.insert(bytes.try_get_u8().ok()?, bytes.try_get_u64_le().ok()?);
        }
        while bytes.has_remaining() {
            let (list, count) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
            let elements = (0..count).map(|_| bytes.try_get_u64_le().ok()).collect::<Option<_>>()?;
            registers.lists.insert(list, elements);
        }
        Some(registers)
    }

    fn write(&mut self, key: u8, value: u64) {
        let old = self.values.insert(key, value).unwrap_or(0);
        self.digest ^= digest(&(key, old)) ^ digest(&(key, value));
    }

    fn append(&mut self, list: u64, value: u64) {
        let elements = self.lists.entry(list).or_default();
        elements.push(value);
        self.digest ^= digest(&(list, elements.len() as u64, value));
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = TraceHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
