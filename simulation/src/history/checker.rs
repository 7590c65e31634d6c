//! A test's own history, recorded while it runs.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::{EventKind, Function, History, HistoryError, HistoryEvent, Judgement, Key, ObjectKind, SearchBudget};

/// Records the calls of a test and judges them.
///
/// ```
/// use quorate_simulation::history::{Checker, Verdict};
///
/// let register = Checker::register();
/// register.write("x", 7).ok();
/// let read = register.read("x");
/// read.answered(6); // The answer of the store under test.
/// assert_eq!(register.judge()?.verdict(), Verdict::Violated);
/// # Ok::<(), quorate_simulation::history::HistoryError>(())
/// ```
///
/// A call is begun before its request is sent, and ended when its answer has arrived: with [`PendingCall::ok`] or
/// [`PendingCall::answered`], or with [`PendingCall::fail`] if it certainly had no effect and never will. If it is
/// dropped, for example because a client gave up, its outcome is unknown. Calls may be made from any thread. Each call
/// has a client of its own unless [`PendingCall::by`] names one.
///
/// Each kind of object has a constructor, and methods for its calls.
#[derive(Debug)]
pub struct Checker<K = ()> {
    recording: Mutex<Recording>,
    kind: ObjectKind,
    calls: PhantomData<K>,
}

#[derive(Debug)]
struct Recording {
    began: Instant,
    events: Vec<HistoryEvent>,
    /// Number of the next client; each call has one.
    next: u64,
}

/// Registers with read, write, and compare-and-set.
#[derive(Debug)]
pub struct Registers;
/// Lists that transactions append to and read.
#[derive(Debug)]
pub struct Lists;
/// Texts with put, append and get.
#[derive(Debug)]
pub struct Texts;
/// Queues: first in, first out.
#[derive(Debug)]
pub struct Queues;
/// Sets that only grow.
#[derive(Debug)]
pub struct Sets;
/// Counters that only grow.
#[derive(Debug)]
pub struct Counters;
/// Banks, whose total is conserved.
#[derive(Debug)]
pub struct Banks;
/// Locks and leases.
#[derive(Debug)]
pub struct Locks;

impl Checker {
    /// Checks that registers are linearizable.
    #[must_use]
    pub fn register() -> Checker<Registers> {
        Checker::of(ObjectKind::Register)
    }

    /// Checks that transactions over lists are strictly serializable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    /// use serde_json::json;
    ///
    /// let lists = Checker::lists();
    /// let steps = |key| json!([["append", key, 1], ["r", "x", null], ["r", "y", null]]);
    /// let [one, two] = ["x", "y"].map(|key| lists.transaction(steps(key)));
    /// one.answered(json!([["append", "x", 1], ["r", "x", [1]], ["r", "y", []]]));
    /// two.answered(json!([["append", "y", 1], ["r", "x", []], ["r", "y", [1]]]));
    /// let judgement = lists.judge()?;
    /// assert_eq!(judgement.findings[0].name, "G2-item, anti-dependency cycle");
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn lists() -> Checker<Lists> {
        Checker::of(ObjectKind::Lists)
    }

    /// Checks that texts are linearizable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    ///
    /// let texts = Checker::text();
    /// texts.append("x", "a").ok();
    /// texts.append("x", "b").ok();
    /// texts.get("x").answered("ba");
    /// assert_eq!(texts.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn text() -> Checker<Texts> {
        Checker::of(ObjectKind::Text)
    }

    /// Checks that first-in-first-out queues are linearizable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    ///
    /// let queue = Checker::queue();
    /// queue.enqueue("jobs", 1).ok();
    /// queue.enqueue("jobs", 2).ok();
    /// queue.dequeue("jobs").answered(2);
    /// assert_eq!(queue.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn queue() -> Checker<Queues> {
        Checker::of(ObjectKind::Queue)
    }

    /// Checks that growing sets are linearizable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    /// use serde_json::json;
    ///
    /// let set = Checker::set();
    /// set.add("seen", 1).ok();
    /// set.read("seen").answered(json!([]));
    /// assert_eq!(set.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn set() -> Checker<Sets> {
        Checker::of(ObjectKind::Set)
    }

    /// Checks that growing counters are linearizable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    ///
    /// let counter = Checker::counter();
    /// counter.increment("ids", 1).answered(1);
    /// counter.increment("ids", 1).answered(1);
    /// assert_eq!(counter.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn counter() -> Checker<Counters> {
        Checker::of(ObjectKind::Counter)
    }

    /// Checks that every read of a bank finds the same total, and no account below zero.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    /// use serde_json::json;
    ///
    /// let bank = Checker::bank();
    /// bank.read("bank").answered(json!({"a": 10, "b": 0}));
    /// bank.transfer("bank", "a", "b", 5).ok();
    /// bank.read("bank").answered(json!({"a": 5, "b": 0}));
    /// assert_eq!(bank.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn bank() -> Checker<Banks> {
        Checker::of(ObjectKind::Bank)
    }

    /// Checks that a lock has one holder at a time, and that its fencing tokens only grow.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    ///
    /// let lock = Checker::lock();
    /// lock.acquire("leader").answered(1);
    /// lock.acquire("leader").answered(2);
    /// assert_eq!(lock.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn lock() -> Checker<Locks> {
        Checker::of(ObjectKind::Lock)
    }

    /// Checks a lease, which another client may take after a time: its fencing tokens only grow.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    ///
    /// let lease = Checker::lease();
    /// lease.acquire("leader").answered(2);
    /// lease.acquire("leader").answered(1);
    /// assert_eq!(lease.judge()?.verdict(), Verdict::Violated);
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn lease() -> Checker<Locks> {
        Checker::of(ObjectKind::Lease)
    }
}

impl<K> Checker<K> {
    fn of(kind: ObjectKind) -> Self {
        let recording = Recording { began: Instant::now(), events: Vec::new(), next: FIRST_CLIENT };
        Self { recording: Mutex::new(recording), kind, calls: PhantomData }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        // The recording is intact even if a thread panicked.
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, function: Function, key: Option<Key>, value: Value) -> PendingCall<'_, K> {
        let mut recording = self.recording();
        let process = recording.next;
        recording.next += 1;
        let time = recording.now();
        let call = HistoryEvent { process, kind: EventKind::Invoke, function, key, value, time };
        recording.events.push(call.clone());
        PendingCall { checker: self, call }
    }

    /// Judges the calls and answers so far, within the default budget. Calls that have not ended count as of unknown
    /// outcome.
    ///
    /// # Errors
    /// When an answer cannot come from such an object, for example a value of a set that is not a list.
    pub fn judge(&self) -> Result<Judgement, HistoryError> {
        self.judge_within(SearchBudget::default())
    }

    /// Like [`Checker::judge`], within this budget.
    ///
    /// # Errors
    /// The errors of [`Checker::judge`].
    pub fn judge_within(&self, budget: SearchBudget) -> Result<Judgement, HistoryError> {
        Ok(History::of_model(self.events(), Some(self.kind))?.judge(budget))
    }

    /// The events recorded so far. [`write_events`](super::write_events) makes a file of them that `simulate check`
    /// reads.
    #[must_use]
    pub fn events(&self) -> Vec<HistoryEvent> {
        self.recording().events.clone()
    }
}

impl Recording {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Checker<Registers> {
    /// Reads a register. The answer is a value, or null.
    pub fn read(&self, key: impl Into<Key>) -> PendingCall<'_, Registers> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }

    /// Writes a register.
    pub fn write(&self, key: impl Into<Key>, value: impl Into<Value>) -> PendingCall<'_, Registers> {
        self.call(Function::Write, Some(key.into()), value.into())
    }

    /// Writes a register if it holds the old value. If it does not, the call ends with [`PendingCall::fail`].
    pub fn cas(&self, key: impl Into<Key>, old: impl Into<Value>, new: impl Into<Value>) -> PendingCall<'_, Registers> {
        self.call(Function::Cas, Some(key.into()), json!([old.into(), new.into()]))
    }
}

impl Checker<Lists> {
    /// A transaction of steps `["append", key, element]` and `["r", key, null]`. The answer has the same steps with the
    /// values read.
    pub fn transaction(&self, steps: impl Into<Value>) -> PendingCall<'_, Lists> {
        self.call(Function::Txn, None, steps.into())
    }
}

impl Checker<Texts> {
    /// Reads a text.
    pub fn get(&self, key: impl Into<Key>) -> PendingCall<'_, Texts> {
        self.call(Function::Get, Some(key.into()), Value::Null)
    }

    /// Replaces a text.
    pub fn put(&self, key: impl Into<Key>, text: impl Into<String>) -> PendingCall<'_, Texts> {
        self.call(Function::Put, Some(key.into()), Value::String(text.into()))
    }

    /// Adds to the end of a text.
    pub fn append(&self, key: impl Into<Key>, text: impl Into<String>) -> PendingCall<'_, Texts> {
        self.call(Function::Append, Some(key.into()), Value::String(text.into()))
    }
}

impl Checker<Queues> {
    /// Appends a value to a queue.
    pub fn enqueue(&self, key: impl Into<Key>, value: impl Into<Value>) -> PendingCall<'_, Queues> {
        self.call(Function::Enqueue, Some(key.into()), value.into())
    }

    /// Removes the value at the head of a queue. The answer is null if the queue is empty.
    pub fn dequeue(&self, key: impl Into<Key>) -> PendingCall<'_, Queues> {
        self.call(Function::Dequeue, Some(key.into()), Value::Null)
    }
}

impl Checker<Sets> {
    /// Adds a member.
    pub fn add(&self, key: impl Into<Key>, member: impl Into<Value>) -> PendingCall<'_, Sets> {
        self.call(Function::Add, Some(key.into()), member.into())
    }

    /// Reads a set. The answer is the list of its members.
    pub fn read(&self, key: impl Into<Key>) -> PendingCall<'_, Sets> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Counters> {
    /// Adds this amount. The answer does not contain the sum.
    pub fn add(&self, key: impl Into<Key>, amount: u64) -> PendingCall<'_, Counters> {
        self.call(Function::Add, Some(key.into()), json!(amount))
    }

    /// Adds this amount. The answer is the sum.
    pub fn increment(&self, key: impl Into<Key>, amount: u64) -> PendingCall<'_, Counters> {
        self.call(Function::Increment, Some(key.into()), json!(amount))
    }

    /// Reads a counter.
    pub fn read(&self, key: impl Into<Key>) -> PendingCall<'_, Counters> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Banks> {
    /// Moves this amount from one account to another.
    pub fn transfer(
        &self,
        key: impl Into<Key>,
        from: impl Into<Value>,
        to: impl Into<Value>,
        amount: u64,
    ) -> PendingCall<'_, Banks> {
        let value = json!({ "from": from.into(), "to": to.into(), "amount": amount });
        self.call(Function::Transfer, Some(key.into()), value)
    }

    /// Reads all accounts. The answer is a map of their balances.
    pub fn read(&self, key: impl Into<Key>) -> PendingCall<'_, Banks> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Locks> {
    /// Acquires a lock. The answer is the fencing token, if there is one.
    pub fn acquire(&self, key: impl Into<Key>) -> PendingCall<'_, Locks> {
        self.call(Function::Acquire, Some(key.into()), Value::Null)
    }

    /// Releases a lock that was acquired with this token; without a token, the lock that the same client holds
    /// ([`PendingCall::by`]).
    pub fn release(&self, key: impl Into<Key>, token: Option<u64>) -> PendingCall<'_, Locks> {
        self.call(Function::Release, Some(key.into()), json!(token))
    }
}

/// A call that is under way. If it is dropped, its outcome is unknown.
#[derive(Debug)]
#[must_use = "a call that is dropped is of unknown outcome"]
pub struct PendingCall<'a, K> {
    checker: &'a Checker<K>,
    call: HistoryEvent,
}

impl<K> PendingCall<'_, K> {
    /// Makes the call belong to this client, which has no other call under way. A client that acquired a lock without a
    /// token must release it as the same client. Client numbers are below 2^32; automatic numbers are above.
    pub fn by(mut self, client: u32) -> Self {
        let process = u64::from(client);
        let mut recording = self.checker.recording();
        let made = recording.events.iter_mut().rev().find(|event| event.process == self.call.process);
        if let Some(made) = made {
            made.process = process;
        }
        drop(recording);
        self.call.process = process;
        self
    }

    /// Ends the call: it was done, and has no answer.
    pub fn ok(self) {
        let value = self.call.value.clone();
        self.end(EventKind::Ok, value);
    }

    /// Ends the call: it was done, with this answer.
    pub fn answered(self, answer: impl Into<Value>) {
        self.end(EventKind::Ok, answer.into());
    }

    /// Ends the call: it certainly had no effect, and never will.
    pub fn fail(self) {
        let value = self.call.value.clone();
        self.end(EventKind::Fail, value);
    }

    fn end(self, kind: EventKind, value: Value) {
        let mut recording = self.checker.recording();
        let time = recording.now();
        recording.events.push(HistoryEvent { kind, value, time, ..self.call });
    }
}

/// Calls without a stated client get numbers from here on.
const FIRST_CLIENT: u64 = 1 << 32;
