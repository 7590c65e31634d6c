//! A test's own history, recorded while it runs.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::{Budget, Event, EventKind, Function, History, HistoryError, Judgement, Key, Kind, write_events};

/// Records the calls of a test and judges them.
///
/// ```
/// use quorate_simulation::history::{Checker, Verdict};
///
/// let register = Checker::register();
/// register.write("x", 7).ok();
/// let read = register.read("x");
/// read.answered(6); // What the store under test said.
/// assert_eq!(register.judge()?.verdict(), Verdict::Violated);
/// # Ok::<(), quorate_simulation::history::HistoryError>(())
/// ```
///
/// A call is made before the request leaves, and ended when its answer is there: with [`Pending::ok`] or
/// [`Pending::answered`], or with [`Pending::fail`] if it certainly had no effect and never will. What is dropped, as by a client
/// that gives up, is of unknown outcome. Calls may be made from any thread, each by a client of its own unless [`Pending::by`] says whose
/// it is.
///
/// Each kind of thing has a constructor, and the calls that it knows.
#[derive(Debug)]
pub struct Checker<K = ()> {
    recording: Mutex<Recording>,
    kind: Kind,
    calls: PhantomData<K>,
}

#[derive(Debug)]
struct Recording {
    began: Instant,
    events: Vec<Event>,
    /// The next client; each call has one.
    next: u64,
}

/// Registers, which are written, read, and compared and set.
#[derive(Debug)]
pub struct Registers;
/// Lists, which transactions append to and read.
#[derive(Debug)]
pub struct Lists;
/// Texts, which are put, appended to and got.
#[derive(Debug)]
pub struct Texts;
/// Queues, first in, first out.
#[derive(Debug)]
pub struct Queues;
/// Sets that grow.
#[derive(Debug)]
pub struct Sets;
/// Counters that grow.
#[derive(Debug)]
pub struct Counters;
/// Banks, whose total is conserved.
#[derive(Debug)]
pub struct Banks;
/// Locks and leases.
#[derive(Debug)]
pub struct Locks;

impl Checker {
    /// Registers are linearizable.
    #[must_use]
    pub fn register() -> Checker<Registers> {
        Checker::of(Kind::Register)
    }

    /// Transactions over lists are strictly serializable.
    ///
    /// ```
    /// use quorate_simulation::history::{Checker, Verdict};
    /// use serde_json::json;
    ///
    /// let lists = Checker::lists();
    /// let [one, two] = ["x", "y"].map(|key| lists.transaction(json!([["append", key, 1], ["r", "x", null], ["r", "y", null]])));
    /// one.answered(json!([["append", "x", 1], ["r", "x", [1]], ["r", "y", []]]));
    /// two.answered(json!([["append", "y", 1], ["r", "x", []], ["r", "y", [1]]]));
    /// let judgement = lists.judge()?;
    /// assert_eq!(judgement.findings[0].name, "G2-item, anti-dependency cycle");
    /// # Ok::<(), quorate_simulation::history::HistoryError>(())
    /// ```
    #[must_use]
    pub fn lists() -> Checker<Lists> {
        Checker::of(Kind::Lists)
    }

    /// Texts are linearizable.
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
        Checker::of(Kind::Text)
    }

    /// Queues are linearizable: first in, first out.
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
        Checker::of(Kind::Queue)
    }

    /// Sets that grow are linearizable.
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
        Checker::of(Kind::Set)
    }

    /// Counters that grow are linearizable.
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
        Checker::of(Kind::Counter)
    }

    /// Every read of a bank finds the same total, and no account below zero.
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
        Checker::of(Kind::Bank)
    }

    /// Locks are held by one at a time, and fencing tokens only grow.
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
        Checker::of(Kind::Lock)
    }

    /// A lock that may be taken from who holds it after a time: fencing tokens only grow.
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
        Checker::of(Kind::Lease)
    }
}

impl<K> Checker<K> {
    fn of(kind: Kind) -> Self {
        let recording = Recording { began: Instant::now(), events: Vec::new(), next: FIRST_CLIENT };
        Self { recording: Mutex::new(recording), kind, calls: PhantomData }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        // What is recorded is whole whoever panicked.
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, function: Function, key: Option<Key>, value: Value) -> Pending<'_, K> {
        let mut recording = self.recording();
        let process = recording.next;
        recording.next += 1;
        let time = recording.now();
        let call = Event { process, kind: EventKind::Invoke, function, key, value, time };
        recording.events.push(call.clone());
        Pending { checker: self, call }
    }

    /// Judges what was called and answered so far, within the usual budget. Calls that are not ended count as of unknown outcome.
    ///
    /// # Errors
    /// When an answer is none that such a thing can give: the value of a set that is no list, say.
    pub fn judge(&self) -> Result<Judgement, HistoryError> {
        self.judge_within(Budget::default())
    }

    /// As [`Checker::judge`], within this budget.
    ///
    /// # Errors
    /// As [`Checker::judge`].
    pub fn judge_within(&self, budget: Budget) -> Result<Judgement, HistoryError> {
        Ok(History::of_model(self.events(), Some(self.kind))?.judge(budget))
    }

    /// What was recorded so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.recording().events.clone()
    }

    /// Writes what was recorded so far as a file that `simulate check` reads.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_to(&self, out: impl Write) -> io::Result<()> {
        write_events(out, &self.events())
    }
}

impl Recording {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Checker<Registers> {
    /// Reads a register; it answers a value, or null.
    pub fn read(&self, key: impl Into<Key>) -> Pending<'_, Registers> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }

    /// Writes a register.
    pub fn write(&self, key: impl Into<Key>, value: impl Into<Value>) -> Pending<'_, Registers> {
        self.call(Function::Write, Some(key.into()), value.into())
    }

    /// Writes a register if it holds the old value. That it did not is [`Pending::fail`].
    pub fn cas(&self, key: impl Into<Key>, old: impl Into<Value>, new: impl Into<Value>) -> Pending<'_, Registers> {
        self.call(Function::Cas, Some(key.into()), json!([old.into(), new.into()]))
    }
}

impl Checker<Lists> {
    /// Steps `["append", key, element]` and `["r", key, null]`; it answers the same with what was read.
    pub fn transaction(&self, steps: impl Into<Value>) -> Pending<'_, Lists> {
        self.call(Function::Txn, None, steps.into())
    }
}

impl Checker<Texts> {
    /// Reads a text.
    pub fn get(&self, key: impl Into<Key>) -> Pending<'_, Texts> {
        self.call(Function::Get, Some(key.into()), Value::Null)
    }

    /// Replaces a text.
    pub fn put(&self, key: impl Into<Key>, text: impl Into<String>) -> Pending<'_, Texts> {
        self.call(Function::Put, Some(key.into()), Value::String(text.into()))
    }

    /// Adds to the end of a text.
    pub fn append(&self, key: impl Into<Key>, text: impl Into<String>) -> Pending<'_, Texts> {
        self.call(Function::Append, Some(key.into()), Value::String(text.into()))
    }
}

impl Checker<Queues> {
    /// Puts a value at the end of a queue.
    pub fn enqueue(&self, key: impl Into<Key>, value: impl Into<Value>) -> Pending<'_, Queues> {
        self.call(Function::Enqueue, Some(key.into()), value.into())
    }

    /// Takes what is at the head of a queue; it answers null if there is nothing.
    pub fn dequeue(&self, key: impl Into<Key>) -> Pending<'_, Queues> {
        self.call(Function::Dequeue, Some(key.into()), Value::Null)
    }
}

impl Checker<Sets> {
    /// Adds a member.
    pub fn add(&self, key: impl Into<Key>, member: impl Into<Value>) -> Pending<'_, Sets> {
        self.call(Function::Add, Some(key.into()), member.into())
    }

    /// Reads a set; it answers the list of its members.
    pub fn read(&self, key: impl Into<Key>) -> Pending<'_, Sets> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Counters> {
    /// Adds this much; it does not answer the sum.
    pub fn add(&self, key: impl Into<Key>, amount: u64) -> Pending<'_, Counters> {
        self.call(Function::Add, Some(key.into()), json!(amount))
    }

    /// Adds this much; it answers the sum.
    pub fn increment(&self, key: impl Into<Key>, amount: u64) -> Pending<'_, Counters> {
        self.call(Function::Increment, Some(key.into()), json!(amount))
    }

    /// Reads a counter.
    pub fn read(&self, key: impl Into<Key>) -> Pending<'_, Counters> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Banks> {
    /// Moves this much from one account to another.
    pub fn transfer(
        &self,
        key: impl Into<Key>,
        from: impl Into<Value>,
        to: impl Into<Value>,
        amount: u64,
    ) -> Pending<'_, Banks> {
        let value = json!({ "from": from.into(), "to": to.into(), "amount": amount });
        self.call(Function::Transfer, Some(key.into()), value)
    }

    /// Reads all accounts; it answers a map of their balances.
    pub fn read(&self, key: impl Into<Key>) -> Pending<'_, Banks> {
        self.call(Function::Read, Some(key.into()), Value::Null)
    }
}

impl Checker<Locks> {
    /// Takes a lock; it answers the fencing token, if there are any.
    pub fn acquire(&self, key: impl Into<Key>) -> Pending<'_, Locks> {
        self.call(Function::Acquire, Some(key.into()), Value::Null)
    }

    /// Lets go of a lock that was acquired with this token; without one, of what the same client holds ([`Pending::by`]).
    pub fn release(&self, key: impl Into<Key>, token: Option<u64>) -> Pending<'_, Locks> {
        self.call(Function::Release, Some(key.into()), json!(token))
    }
}

/// A call that is under way. Dropped, it is of unknown outcome.
#[derive(Debug)]
#[must_use = "a call that is dropped is of unknown outcome"]
pub struct Pending<'a, K> {
    checker: &'a Checker<K>,
    call: Event,
}

impl<K> Pending<'_, K> {
    /// It is the call of this client, which has no other under way. Who acquired a lock without a token lets go of it as the same
    /// client. Numbers are below 2^32; those of other calls are above.
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

    /// It was done, and there is nothing to tell.
    pub fn ok(self) {
        let value = self.call.value.clone();
        self.end(EventKind::Ok, value);
    }

    /// It was done, with this answer.
    pub fn answered(self, answer: impl Into<Value>) {
        self.end(EventKind::Ok, answer.into());
    }

    /// It certainly had no effect, and never will.
    pub fn fail(self) {
        let value = self.call.value.clone();
        self.end(EventKind::Fail, value);
    }

    fn end(self, kind: EventKind, value: Value) {
        let mut recording = self.checker.recording();
        let time = recording.now();
        recording.events.push(Event { kind, value, time, ..self.call });
    }
}

/// Clients that are not stated are numbered from here.
const FIRST_CLIENT: u64 = 1 << 32;
