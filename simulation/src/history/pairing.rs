//! Converts events into calls.

use std::collections::{BTreeMap, HashMap};

use super::datum::Datum;
use super::micro::{Micro, check_answer, micros, old_and_new, transfer};
use super::object::{Family, Guess, Object, ObjectKind};
use super::recorded::{HistoryError, Recorded};
use super::{EventKind, Function, Key};

/// A call with its outcome.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) process: u64,
    pub(super) function: Function,
    pub(super) outcome: CallOutcome,
    /// Number of the object that it was made on.
    pub(super) object: u32,
    pub(super) line: usize,
    /// The value of the call.
    pub(super) called: Datum,
    /// The value of an `ok` answer, or the reads that an `info` transaction states; null otherwise.
    pub(super) answered: Datum,
    /// Number of the event, and its time in nanoseconds.
    pub(super) invoked: (u64, u64),
    /// The same for the answer.
    pub(super) returned: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Ok,
    Fail,
    Unknown,
}

impl Call {
    /// Number of the event that answered it `ok`.
    pub(super) fn answered_at(&self) -> Option<u64> {
        self.returned.filter(|_| self.outcome == CallOutcome::Ok).map(|(number, _)| number)
    }
}

/// The calls of a history, each with its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct PairedCalls {
    /// The calls, in the order they were made.
    pub(super) calls: Vec<Call>,
    /// The objects of the calls, by the numbers that the calls bear.
    pub(super) objects: Vec<Object>,
    /// Number of events with an earlier time than the event before.
    pub(super) times_back: usize,
}

/// Takes events one after another and makes calls from them.
pub(super) struct Pairing {
    paired: PairedCalls,
    objects: HashMap<(Family, Option<Key>), u32>,
    guesses: Vec<Guess>,
    waiting: BTreeMap<u64, usize>,
    /// The line in which each element was appended to each list.
    appended: HashMap<(Key, Datum), usize>,
    model: Option<ObjectKind>,
    must_have_key: bool,
    events: u64,
    last_time: u64,
}

impl Pairing {
    /// `model` is the kind of all objects, if it is known.
    pub(super) fn new(model: Option<ObjectKind>, must_have_key: bool) -> Self {
        Self {
            paired: PairedCalls::default(),
            objects: HashMap::new(),
            guesses: Vec::new(),
            waiting: BTreeMap::new(),
            appended: HashMap::new(),
            model,
            must_have_key,
            events: 0,
            last_time: 0,
        }
    }

    pub(super) fn take(&mut self, line: usize, event: Recorded) -> Result<(), HistoryError> {
        let moment = (self.events, event.time);
        self.paired.times_back += usize::from(event.time < self.last_time);
        self.last_time = event.time;
        self.events += 1;
        let taken =
            if event.kind == EventKind::Invoke { self.call(line, moment, event) } else { self.answer(moment, event) };
        taken.map_err(|problem| HistoryError::Line { line, problem })
    }

    /// Returns the calls once there are no more events.
    pub(super) fn finish(self) -> Result<PairedCalls, HistoryError> {
        let Self { mut paired, guesses, must_have_key, .. } = self;
        let fault = |(line, problem)| HistoryError::Line { line, problem };
        for guess in guesses {
            paired.objects.push(guess.settle(must_have_key).map_err(fault)?);
        }
        for call in &paired.calls {
            if call.function == Function::Read && call.outcome == CallOutcome::Ok {
                let kind = paired.objects[call.object as usize].kind;
                kind.check_read(&call.answered).map_err(|problem| fault((call.line, problem)))?;
            }
            if call.function == Function::Add && paired.objects[call.object as usize].kind == ObjectKind::Counter {
                amount(call.function, &call.called).map_err(|problem| fault((call.line, problem)))?;
            }
        }
        Ok(paired)
    }

    fn call(&mut self, line: usize, moment: (u64, u64), event: Recorded) -> Result<(), String> {
        let Recorded { process, function, key, value, .. } = event;
        check_call(function, key.as_ref(), &value)?;
        if function == Function::Txn {
            self.note_appends(line, &value)?;
        }
        let object = self.object(line, function, key)?;
        if let Some(earlier) = self.waiting.insert(process, self.paired.calls.len()) {
            let earlier = self.paired.calls[earlier].line;
            return Err(format!("process {process} still waits for the answer to line {earlier}"));
        }
        self.paired.calls.push(Call {
            process,
            function,
            outcome: CallOutcome::Unknown,
            object,
            line,
            called: value,
            answered: Datum::Null,
            invoked: moment,
            returned: None,
        });
        Ok(())
    }

    fn object(&mut self, line: usize, function: Function, key: Option<Key>) -> Result<u32, String> {
        let name = (Family::of(function), key);
        let number = if let Some(number) = self.objects.get(&name) {
            *number
        } else {
            let number = u32::try_from(self.guesses.len()).map_err(|_| "there are more than 2^32 keys".to_owned())?;
            self.guesses.push(Guess::new(name.1.clone(), self.model, (function, line)));
            self.objects.insert(name, number);
            number
        };
        self.guesses[number as usize].note_call(function, line)?;
        Ok(number)
    }

    /// Refuses an element that is appended twice to a list, because a read could not tell which append it saw.
    fn note_appends(&mut self, line: usize, value: &Datum) -> Result<(), String> {
        for micro in micros(value)? {
            let Micro::Append { key, element } = micro else { continue };
            let shown = key.json();
            if let Some(earlier) = self.appended.insert((key, element.clone()), line) {
                return Err(format!(
                    "{element} is appended to list {shown} as in line {earlier}: whose it is cannot be told by reading"
                ));
            }
        }
        Ok(())
    }

    fn answer(&mut self, moment: (u64, u64), event: Recorded) -> Result<(), String> {
        let Some(position) = self.waiting.remove(&event.process) else {
            return Err(format!("process {} has no call under way", event.process));
        };
        let call = &mut self.paired.calls[position];
        let guess = &mut self.guesses[call.object as usize];
        if event.function != call.function || event.key != guess.key {
            return Err(format!("process {} waits for the answer to line {}, another call", call.process, call.line));
        }
        call.outcome = match event.kind {
            EventKind::Ok => CallOutcome::Ok,
            EventKind::Fail => CallOutcome::Fail,
            EventKind::Info if call.function == Function::Txn => return note_reads(call, event.value),
            EventKind::Info | EventKind::Invoke => return Ok(()),
        };
        call.returned = Some(moment);
        if call.outcome == CallOutcome::Fail {
            return Ok(());
        }
        check_ok(call, &event.value)?;
        if call.function == Function::Read {
            guess.note_read(&event.value);
        }
        // An answer that only repeats the call need not be stored twice.
        if tells(call.function) {
            call.answered = event.value;
        }
        Ok(())
    }
}

/// True if an answer contains more information than that the call was done.
fn tells(function: Function) -> bool {
    function.asks_only() || matches!(function, Function::Txn | Function::Increment)
}

fn check_call(function: Function, key: Option<&Key>, value: &Datum) -> Result<(), String> {
    match function {
        Function::Txn if key.is_some() => Err("a transaction names its keys in its value".to_owned()),
        Function::Cas => old_and_new(value).map(|_| ()),
        Function::Transfer => transfer(value).map(|_| ()),
        Function::Put | Function::Append if !matches!(value, Datum::Text(_)) => {
            Err(format!("the value of {function} is a text"))
        }
        Function::Enqueue | Function::Add if value.is_null() => Err(format!("{function} without a value")),
        Function::Increment => amount(function, value),
        Function::Release => token(value),
        _ => Ok(()),
    }
}

fn check_ok(call: &Call, answer: &Datum) -> Result<(), String> {
    match call.function {
        Function::Read | Function::Dequeue => Ok(()),
        Function::Get if matches!(answer, Datum::Text(_) | Datum::Null) => Ok(()),
        Function::Get => Err(format!("a text cannot be read as {answer}")),
        Function::Txn => check_answer(&call.called, answer),
        Function::Increment if answer.is_null() || answer.integer().is_some() => Ok(()),
        Function::Increment => Err(format!("{answer} is no count")),
        Function::Acquire => token(answer),
        // See `tells`.
        _ if *answer == call.called || answer.is_null() => Ok(()),
        _ => Err("the answer bears another value than the call".to_owned()),
    }
}

/// Checks an amount: at least zero, so that a counter only grows.
fn amount(function: Function, value: &Datum) -> Result<(), String> {
    let is_amount = value.integer().is_some_and(|amount| amount >= 0);
    let is_one = value.is_null() && function == Function::Increment;
    if is_amount || is_one { Ok(()) } else { Err(format!("{value} is not an amount to {function}")) }
}

fn token(value: &Datum) -> Result<(), String> {
    let is_token = value.is_null() || value.integer().is_some();
    if is_token { Ok(()) } else { Err(format!("{value} is no fencing token, which is a whole number")) }
}

/// Keeps the reads that a transaction of unknown outcome states. Recorders that know of none repeat the call, or write
/// something else in its place.
fn note_reads(call: &mut Call, value: Datum) -> Result<(), String> {
    let Ok(steps) = micros(&value) else { return Ok(()) };
    if steps.iter().any(|step| matches!(step, Micro::Read { list: Some(_), .. })) {
        check_answer(&call.called, &value)?;
        call.answered = value;
    }
    Ok(())
}
