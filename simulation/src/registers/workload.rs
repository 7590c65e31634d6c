//! The clients: their calls, and the history of their answers.

use quorate_protocol::{NodeId, Random, Violation};
use serde_json::{Value, json};

use super::{RegisterRequest, Response};
use crate::history::{EventKind, Function, History, HistoryEvent, Key, SearchBudget};
use crate::world::{ClientAnswer, ClusterInfo, Machine, Workload};

/// Clients that read, write, and compare-and-set registers, and run transactions on lists.
///
/// [`History::judge`] judges their history: each register must be linearizable, and the transactions strictly
/// serializable.
pub struct RegisterClients {
    random: Random,
    /// The newest value of each register that a client knows, to make a cas that can match.
    seen: [u64; REGISTERS],
    next_value: u64,
    events: Vec<HistoryEvent>,
    /// Each call touches one register or list, and some delete a register.
    is_single: bool,
}

impl RegisterClients {
    /// Makes the clients of a run with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x636c_6965_6e74);
        Self { random, seen: [0; REGISTERS], next_value: 0, events: Vec::new(), is_single: false }
    }

    /// Lets each call touch one register or one list only, for protocols without transactions. Some writes delete their
    /// register: they write zero, which stands for an absent value.
    #[must_use]
    pub fn single(mut self) -> Self {
        self.is_single = true;
        self
    }

    fn request(&mut self) -> RegisterRequest {
        let key = u8::try_from(self.random.between(0, REGISTERS as u64)).expect("few registers");
        self.next_value += 1;
        let value = self.next_value;
        match self.random.between(0, 10) {
            0..3 => RegisterRequest::Read { key },
            3 if self.is_single && self.random.between(0, 3) == 0 => RegisterRequest::Write { key, value: 0 },
            3..6 => RegisterRequest::Write { key, value },
            6 => RegisterRequest::Cas { key, old: self.seen[usize::from(key)], new: value },
            _ => {
                let count = if self.is_single { 1 } else { self.random.between(1, 4) };
                // New lists are started all the time: long ones make the history large and prove no more.
                let newest = self.next_value / CALLS_A_LIST;
                let step = |number: u64| {
                    let list = newest + self.random.between(0, LISTS);
                    (list, (self.random.between(0, 2) == 0).then_some(value * 4 + number))
                };
                RegisterRequest::Txn { steps: (0..count).map(step).collect() }
            }
        }
    }

    fn note(&mut self, request: &RegisterRequest, response: &Response) {
        match (request, response) {
            (RegisterRequest::Read { key }, Response { value, .. })
            | (RegisterRequest::Write { key, value } | RegisterRequest::Cas { key, new: value, .. }, _) => {
                self.seen[usize::from(*key)] = *value;
            }
            _ => {}
        }
    }

    fn record(
        &mut self,
        client: u64,
        kind: EventKind,
        request: &RegisterRequest,
        response: Option<&Response>,
        at_us: u64,
    ) {
        let (function, key, value) = words(request, response);
        self.events.push(HistoryEvent { process: client, kind, function, key, value, time: at_us * 1_000 });
    }
}

impl<M> Workload<M> for RegisterClients
where
    M: Machine<Call = RegisterRequest, Answer = Response>,
{
    fn call(&mut self, client: u64, cluster: ClusterInfo, at_us: u64) -> (NodeId, RegisterRequest) {
        let request = self.request();
        self.record(client, EventKind::Invoke, &request, None, at_us);
        (cluster.choose(&mut self.random), request)
    }

    fn answered(&mut self, client: u64, what: &RegisterRequest, answer: &ClientAnswer<Response>, at_us: u64) {
        match answer {
            ClientAnswer::Done(response) => {
                self.note(what, response);
                self.record(client, EventKind::Ok, what, Some(response), at_us);
            }
            ClientAnswer::NotDone => self.record(client, EventKind::Fail, what, None, at_us),
            ClientAnswer::Unknown => self.record(client, EventKind::Info, what, None, at_us),
        }
    }

    fn is_write(&self, what: &RegisterRequest) -> bool {
        !matches!(what, RegisterRequest::Read { .. })
    }

    /// Time after which a client gives up. A read that was given up has no further effect. A write that was given up
    /// may take effect at any time, and a history with many of these is hard to judge.
    fn patience_us(&mut self, what: &RegisterRequest) -> u64 {
        if matches!(what, RegisterRequest::Read { .. }) { 250_000 } else { 2_000_000 }
    }

    fn pause_us(&mut self, _client: u64) -> u64 {
        self.random.between(300, 15_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        let history = History::from_events(self.events.iter().cloned()).expect("made here");
        history.judge(SearchBudget::default()).check()
    }

    fn history(&self) -> Vec<HistoryEvent> {
        self.events.clone()
    }
}

/// A call and its response in the form of a history.
fn words(request: &RegisterRequest, response: Option<&Response>) -> (Function, Option<Key>, Value) {
    let register = |key: &u8| Some(Key::from(format!("r{key}")));
    let shown = |value: u64| if value == 0 { Value::Null } else { json!(value) };
    match request {
        RegisterRequest::Read { key } => {
            (Function::Read, register(key), shown(response.map_or(0, |response| response.value)))
        }
        RegisterRequest::Write { key, value } => (Function::Write, register(key), shown(*value)),
        RegisterRequest::Cas { key, old, new } => (Function::Cas, register(key), json!([shown(*old), shown(*new)])),
        RegisterRequest::Txn { steps } => {
            let mut lists = response.into_iter().flat_map(|response| &response.lists);
            let step = |(list, appended): &(u64, Option<u64>)| match appended {
                Some(value) => json!(["append", format!("l{list}"), value]),
                None => json!(["r", format!("l{list}"), lists.next()]),
            };
            (Function::Txn, None, steps.iter().map(step).collect())
        }
    }
}

const REGISTERS: usize = 6;
const LISTS: u64 = 3;
const CALLS_A_LIST: u64 = 60;
