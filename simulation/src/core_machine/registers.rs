//! The state machine that simulated clients talk to: registers and lists.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::trace::TraceHasher;
use crate::world::{Answer, Request};

/// Registers and lists, as applied so far.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    values: BTreeMap<u8, u64>,
    lists: BTreeMap<u64, Vec<u64>>,
    /// The sum of what every register and list holds, kept as it changes.
    digest: u64,
}

impl Registers {
    /// A digest of the state: equal states have equal ones.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What a register holds; zero when it was never written.
    #[must_use]
    pub fn register(&self, key: u8) -> u64 {
        self.values.get(&key).copied().unwrap_or(0)
    }

    /// Does what was asked.
    pub fn apply(&mut self, request: &Request) -> Answer {
        let mut answer = (0, Vec::new());
        match request {
            Request::Read { key } => answer.0 = self.register(*key),
            Request::Write { key, value } => self.write(*key, *value),
            Request::Cas { key, old, new } if self.register(*key) == *old => self.write(*key, *new),
            Request::Cas { .. } => return Answer::NotDone,
            Request::Txn { steps } => {
                for (list, appended) in steps {
                    match appended {
                        Some(value) => self.append(*list, *value),
                        None => answer.1.push(self.lists.get(list).cloned().unwrap_or_default()),
                    }
                }
            }
        }
        Answer::Done { value: answer.0, lists: answer.1 }
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

/// The bytes of a request, as the payload of an entry.
pub(super) fn encode(request: &Request) -> Bytes {
    let mut out = BytesMut::new();
    match request {
        Request::Read { key } => {
            out.put_u8(READ);
            out.put_u8(*key);
        }
        Request::Write { key, value } => {
            out.put_u8(WRITE);
            out.put_u8(*key);
            out.put_u64_le(*value);
        }
        Request::Cas { key, old, new } => {
            out.put_u8(CAS);
            out.put_u8(*key);
            out.put_u64_le(*old);
            out.put_u64_le(*new);
        }
        Request::Txn { steps } => {
            out.put_u8(TXN);
            for (list, appended) in steps {
                out.put_u64_le(*list);
                out.put_u64_le(appended.unwrap_or(0));
            }
        }
    }
    out.freeze()
}

/// The request in an entry's payload, which [`encode`] made.
pub(super) fn decode(mut bytes: &[u8]) -> Request {
    match bytes.get_u8() {
        READ => Request::Read { key: bytes.get_u8() },
        WRITE => Request::Write { key: bytes.get_u8(), value: bytes.get_u64_le() },
        CAS => Request::Cas { key: bytes.get_u8(), old: bytes.get_u64_le(), new: bytes.get_u64_le() },
        TXN => {
            let mut steps = Vec::new();
            while bytes.has_remaining() {
                let (list, value) = (bytes.get_u64_le(), bytes.get_u64_le());
                steps.push((list, (value != 0).then_some(value)));
            }
            Request::Txn { steps }
        }
        other => panic!("{other} is not a request"),
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = TraceHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const CAS: u8 = 3;
const TXN: u8 = 4;
