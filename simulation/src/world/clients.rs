//! The clients: what they call, and the history of what they saw.

use quorate_protocol::Random;
use serde_json::{Value, json};

use crate::history::{Event, EventKind, Function};

/// What a client asks: a register or some lists, of which there are few, so that calls meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read a register.
    Read {
        /// Which.
        key: u8,
    },
    /// Write a register.
    Write {
        /// Which.
        key: u8,
        /// What: never zero, which is absence.
        value: u64,
    },
    /// Write a register if it holds the old value.
    Cas {
        /// Which.
        key: u8,
        /// What it must hold.
        old: u64,
        /// What it shall hold.
        new: u64,
    },
    /// Append to lists and read lists, all at once.
    Txn {
        /// The steps: a list, and what to append to it, or nothing to read it.
        steps: Vec<(u64, Option<u64>)>,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done. A register's value (zero: absent), and the lists that were read, in order.
    Done {
        /// Of a read.
        value: u64,
        /// Of a transaction.
        lists: Vec<Vec<u64>>,
    },
    /// It was not done and never will be.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// The clients of a run.
pub(super) struct Clients {
    random: Random,
    states: Vec<Option<Open>>,
    /// The newest value of each register that a client knows of, to make a cas that can match.
    seen: [u64; REGISTERS],
    next_value: u64,
    next_call: u64,
    pub(super) events: Vec<Event>,
    pub(super) acknowledged: u64,
}

/// A call under way.
pub(super) struct Open {
    pub(super) call: u64,
    pub(super) node: u64,
    request: Request,
}

impl Clients {
    pub(super) fn new(count: u64, seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0x636c_6965_6e74),
            states: (0..count).map(|_| None).collect(),
            seen: [0; REGISTERS],
            next_value: 0,
            next_call: 0,
            events: Vec::new(),
            acknowledged: 0,
        }
    }

    /// Makes a call of this client, at a node of its choice.
    pub(super) fn call(&mut self, client: usize, nodes: u64, time_ns: u64) -> (u64, u64, Request) {
        let request = self.request();
        self.next_call += 1;
        let (call, node) = (self.next_call, self.random.between(1, nodes + 1));
        self.record(client, EventKind::Invoke, &request, &Answer::Unknown, time_ns);
        self.states[client] = Some(Open { call, node, request: request.clone() });
        (call, node, request)
    }

    /// Ends a call, if it is still under way: gives whose it was.
    pub(super) fn answer(&mut self, call: u64, answer: &Answer, time_ns: u64) -> Option<usize> {
        let is_it = |open: &Option<Open>| open.as_ref().is_some_and(|open| open.call == call);
        let client = self.states.iter().position(is_it)?;
        let open = self.states[client].take().expect("just found");
        let kind = match answer {
            Answer::Done { .. } => EventKind::Ok,
            Answer::NotDone => EventKind::Fail,
            Answer::Unknown => EventKind::Info,
        };
        if kind == EventKind::Ok {
            self.acknowledged += 1;
            self.note(&open.request, answer);
        }
        self.record(client, kind, &open.request, answer, time_ns);
        Some(client)
    }

    /// The calls that wait for this node.
    pub(super) fn waiting_for(&self, node: u64) -> Vec<u64> {
        self.states.iter().flatten().filter(|open| open.node == node).map(|open| open.call).collect()
    }

    /// How long a client thinks before its next call.
    pub(super) fn pause_us(&mut self) -> u64 {
        self.random.between(500, 30_000)
    }

    fn request(&mut self) -> Request {
        let key = u8::try_from(self.random.between(0, REGISTERS as u64)).expect("few registers");
        self.next_value += 1;
        let value = self.next_value;
        match self.random.between(0, 10) {
            0..3 => Request::Read { key },
            3..6 => Request::Write { key, value },
            6 => Request::Cas { key, old: self.seen[usize::from(key)], new: value },
            _ => {
                let count = self.random.between(1, 4);
                // New lists all the time: long ones make the history large and prove no more.
                let newest = self.next_call / CALLS_A_LIST;
                let step = |number: u64| {
                    let list = newest + self.random.between(0, LISTS);
                    (list, (self.random.between(0, 2) == 0).then_some(value * 4 + number))
                };
                Request::Txn { steps: (0..count).map(step).collect() }
            }
        }
    }

    fn note(&mut self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (Request::Read { key }, Answer::Done { value, .. })
            | (Request::Write { key, value } | Request::Cas { key, new: value, .. }, _) => {
                self.seen[usize::from(*key)] = *value;
            }
            _ => {}
        }
    }

    fn record(&mut self, client: usize, kind: EventKind, request: &Request, answer: &Answer, time: u64) {
        let (function, key, value) = words(request, answer, kind);
        self.events.push(Event { process: client as u64, kind, function, key, value, time });
    }
}

fn words(request: &Request, answer: &Answer, kind: EventKind) -> (Function, Option<String>, Value) {
    let told = match answer {
        Answer::Done { value, lists } if kind == EventKind::Ok => Some((*value, lists)),
        _ => None,
    };
    let register = |key: &u8| Some(format!("r{key}"));
    let shown = |value: u64| if value == 0 { Value::Null } else { json!(value) };
    match request {
        Request::Read { key } => (Function::Read, register(key), shown(told.map_or(0, |(value, _)| value))),
        Request::Write { key, value } => (Function::Write, register(key), shown(*value)),
        Request::Cas { key, old, new } => (Function::Cas, register(key), json!([shown(*old), shown(*new)])),
        Request::Txn { steps } => {
            let mut lists = told.into_iter().flat_map(|(_, lists)| lists);
            let step = |(list, appended): &(u64, Option<u64>)| match appended {
                Some(value) => json!(["append", format!("l{list}"), value]),
                None => json!(["r", format!("l{list}"), lists.next()]),
            };
            (Function::Txn, None, steps.iter().map(step).collect())
        }
    }
}

const REGISTERS: usize = 4;
const LISTS: u64 = 3;
const CALLS_A_LIST: u64 = 60;
