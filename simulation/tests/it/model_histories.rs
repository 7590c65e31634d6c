//! Queues, sets, counters, texts, banks and locks: good histories hold, bad ones are found, and each judge agrees with
//! trying every order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_protocol::Random;
use quorate_simulation::history::{
    EventKind, Function, History, HistoryEvent, Judgement, ObjectKind, Reading, SearchBudget, Verdict, write_events,
};
use serde_json::{Value, json};

use crate::history_generator::{Shape, generate, pick, some_order_fits};

/// `1 enqueue 5` is process 1 calling, `1 ok`, `1 ok 5`, `1 fail`, `1 info` are its ends. Steps are divided by
/// semicolons.
fn script(steps: &str) -> String {
    let mut lines = Vec::new();
    let mut calls = BTreeMap::new();
    for (time, step) in steps.split(';').enumerate() {
        let mut words = step.trim().splitn(3, ' ');
        let (process, what) = (words.next().expect("a process"), words.next().expect("a word"));
        let is_end = ["ok", "fail", "info"].contains(&what);
        let (kind, function) =
            if is_end { (what, calls.remove(process).expect("called before")) } else { ("invoke", what) };
        if !is_end {
            calls.insert(process, function);
        }
        let value = words.next().unwrap_or("null");
        lines
            .push(format!(r#"{{"process":{process},"type":"{kind}","f":"{function}","value":{value},"time":{time}}}"#));
    }
    lines.join("\n")
}

fn judge_as(steps: &str, model: Option<ObjectKind>) -> Judgement {
    let reading = Reading { model, ..Reading::default() };
    History::read_as(script(steps).as_bytes(), reading).expect(steps).judge(SearchBudget::default())
}

fn judge(steps: &str) -> Judgement {
    judge_as(steps, None)
}

fn refusal(steps: &str) -> String {
    History::read(script(steps).as_bytes()).expect_err(steps).to_string()
}

fn assert_good(all: &[&str]) {
    for steps in all {
        let judged = judge(steps);
        assert_eq!(judged.verdict(), Verdict::Holds, "{steps}: {judged}");
    }
}

fn assert_bad(all: &[(&str, &str)]) {
    for (steps, told) in all {
        let judged = judge(steps);
        assert_eq!(judged.verdict(), Verdict::Violated, "{steps}: {judged}");
        assert!(judged.to_string().contains(told), "{steps}: {judged}");
    }
}

#[test]
fn queues() {
    assert_good(&[
        "1 enqueue 1; 1 ok; 2 dequeue; 2 ok 1; 2 dequeue; 2 ok",
        // Under way at once, they may come in either order.
        "1 enqueue 1; 2 enqueue 2; 1 ok; 2 ok; 1 dequeue; 1 ok 2; 1 dequeue; 1 ok 1",
        "1 dequeue; 2 enqueue 1; 1 ok 1; 2 info",
        "1 enqueue 1; 1 info; 2 dequeue; 2 ok; 2 dequeue; 2 ok 1",
        "1 enqueue 1; 1 fail; 2 dequeue; 2 ok",
        // A dequeue of unknown outcome may have taken the first.
        "1 enqueue 1; 1 ok; 1 enqueue 2; 1 ok; 2 dequeue; 2 info; 3 dequeue; 3 ok 2",
        "1 enqueue 7; 1 ok; 1 enqueue 7; 1 ok; 2 dequeue; 2 ok 7; 2 dequeue; 2 ok 7; 2 dequeue; 2 ok",
    ]);
    assert_bad(&[
        ("1 dequeue; 1 ok 1", "dequeue 1, which nobody enqueued"),
        ("1 dequeue; 1 ok 1; 2 enqueue 1; 2 ok", "enqueue 1, later"),
        ("1 enqueue 1; 1 fail; 2 dequeue; 2 ok 1", "dequeue 1, which nobody enqueued"),
        ("1 enqueue 1; 1 ok; 2 dequeue; 2 ok 1; 3 dequeue; 3 ok 1", "dequeue 1 once more"),
        ("1 enqueue 1; 1 ok; 1 enqueue 2; 1 ok; 2 dequeue; 2 ok 2; 2 dequeue; 2 ok 1", "dequeue 1, called at 6"),
        ("1 enqueue 1; 1 ok; 1 enqueue 2; 1 ok; 2 dequeue; 2 ok 2", "dequeue 2, and nobody ever 1"),
        ("1 enqueue 1; 1 ok; 2 dequeue; 2 ok; 2 dequeue; 2 ok 1", "dequeue nothing, though"),
        ("1 enqueue 7; 1 ok; 1 enqueue 7; 1 ok; 2 dequeue; 2 ok 7; 2 dequeue; 2 ok", "the queue has 7 at its head"),
    ]);
}

#[test]
fn sets() {
    assert_good(&[
        "1 add 1; 1 ok; 2 read; 2 ok [1]",
        "2 read; 1 add 1; 1 ok; 2 ok []; 3 add 2; 2 read; 2 ok [2,1]; 3 info",
        "1 add 1; 1 info; 2 read; 2 ok []; 2 read; 2 ok [1]",
        "1 add 1; 1 ok; 1 add 1; 1 ok; 2 read; 2 ok [1]",
    ]);
    assert_bad(&[
        ("1 add 1; 1 ok; 2 read; 2 ok []", "read [], which must come before, called at 2"),
        ("1 add 1; 1 info; 2 read; 2 ok [3]", "read 3, which nobody added"),
        ("1 add 1; 1 ok; 2 read; 2 ok [1,1]", "with a member in it twice"),
        ("1 add 1; 2 add 2; 3 read; 4 read; 3 ok [1]; 4 ok [2]; 1 ok; 2 ok", "read a set without 1"),
        ("1 add 1; 2 read; 2 ok [1]; 2 read; 2 ok []; 1 ok", "which must come before"),
        ("1 add 1; 3 add 2; 3 ok; 2 read; 2 ok [1]; 1 ok", "which must come before"),
        // The second add is done before a read that lacks the member.
        ("1 add 1; 3 add 1; 3 ok; 2 read; 2 ok []; 2 read; 2 ok [1]; 1 ok", "which must come before"),
    ]);
    assert_eq!(judge("1 add \"a\"; 1 ok; 2 read; 2 info").verdict(), Verdict::Holds);
}

#[test]
fn counters() {
    assert_good(&[
        "1 add 1; 1 ok; 2 read; 2 ok 1",
        "1 add 1; 2 read; 2 ok 1; 2 read; 2 ok 1; 1 ok",
        "1 add 5; 1 info; 2 read; 2 ok 0; 2 read; 2 ok 5",
        "1 increment; 2 increment; 1 ok 2; 2 ok 1; 3 read; 3 ok 2",
        "1 increment 3; 1 ok 3; 1 increment; 1 ok 4",
        // Of two that may have come, the one has that must come first.
        "1 add 1; 2 read; 3 add 1; 3 ok; 2 ok 2; 4 read; 4 ok 2; 1 ok",
    ]);
    assert_bad(&[
        ("1 add 1; 1 ok; 2 read; 2 ok 0", "1 had been added before"),
        ("1 add 1; 2 read; 2 ok 2; 1 ok", "only 1 can have been added by then"),
        ("1 add 1; 2 read; 2 ok 1; 2 read; 2 ok 0; 1 ok", "the count was 1 by then"),
        ("1 add 1; 2 add 1; 3 read; 3 ok 2; 4 read; 4 ok 1; 1 ok; 2 ok", "the count was 2 by then"),
        ("1 increment; 1 ok 1; 2 increment; 2 ok 1", "is not linearizable"),
        ("1 add 2; 1 ok; 2 add 3; 3 read; 3 ok 4; 2 ok", "is not linearizable"),
    ]);
}

#[test]
fn banks() {
    assert_good(&[
        r#"1 transfer {"from":"a","to":"b","amount":5}; 1 ok; 2 read; 2 ok {"a":5,"b":5}; 2 read; 2 ok {"a":10,"b":0}"#,
        r#"2 read; 2 ok {"a":10}; 1 transfer {"from":"a","to":"b","amount":5}; 1 info; 2 read; 2 ok {"a":4,"b":6}"#,
    ]);
    assert_bad(&[
        (
            r#"1 transfer {"from":"a","to":"b","amount":5}; 1 ok; 2 read; 2 ok {"a":10,"b":0}; 3 read; 3 ok {"a":5,"b":0}"#,
            "the bank does not conserve its total",
        ),
        (
            r#"1 transfer {"from":"a","to":"b","amount":5}; 1 ok; 2 read; 2 ok {"a":11,"b":-1}"#,
            "the bank has an account below zero",
        ),
    ]);
    assert_eq!(judge(r#"1 transfer {"from":"a","to":"b","amount":5}; 1 fail"#).verdict(), Verdict::NothingJudged);
}

#[test]
fn locks() {
    assert_good(&[
        "1 acquire; 1 ok; 1 release; 1 ok; 2 acquire; 2 ok",
        "1 acquire; 1 ok 1; 2 acquire; 1 release 1; 2 ok 2; 1 ok",
        "1 acquire; 1 ok; 1 release; 1 info; 2 acquire; 2 ok",
        "1 acquire; 1 info; 2 acquire; 2 ok",
        "1 acquire; 1 fail; 2 acquire; 2 ok 7",
    ]);
    assert_bad(&[
        ("1 acquire; 1 ok; 2 acquire; 2 ok", "process 1 holds it"),
        ("1 acquire; 1 ok; 2 release; 2 ok", "process 1 holds it"),
        ("1 release; 1 ok", "nobody holds it"),
        ("1 acquire; 1 ok 3; 1 release 3; 1 ok; 2 acquire; 2 ok 3", "token 3 was given before"),
        ("1 acquire; 1 ok 3; 1 release 3; 1 ok; 2 acquire; 2 ok 2", "token 3 was given before"),
    ]);
    // A lease runs out. What it may not do is give an old token.
    let lease = |steps| judge_as(steps, Some(ObjectKind::Lease));
    for good in ["1 acquire; 1 ok 1; 2 acquire; 2 ok 2", "1 acquire; 1 ok 1; 2 acquire; 2 ok 2; 1 release 1; 1 ok"] {
        assert_eq!(lease(good).verdict(), Verdict::Holds, "{good}");
        assert_eq!(judge(good).verdict(), Verdict::Violated, "{good}");
    }
    let judged = lease("1 acquire; 1 ok 2; 2 acquire; 2 ok 1");
    assert!(judged.to_string().contains("the lease is not linearizable"), "{judged}");
    assert!(judged.to_string().contains("token 2 was given before"), "{judged}");
}

#[test]
fn what_is_no_call_of_the_thing_is_refused_by_line() {
    for (steps, expected) in [
        (
            "1 add 1; 1 ok; 2 increment; 2 ok; 3 transfer {\"from\":1,\"to\":2,\"amount\":3}",
            "line 5: transfer beside the increment of line 3, which is a call of a counter",
        ),
        ("1 add 1; 1 ok; 2 write 3", "line 3: write beside the add of line 1, which is no call of a register"),
        ("1 write 3; 1 ok", "line 1: write without a key"),
        ("1 get; 1 ok \"a\"", "line 1: get without a key"),
        ("1 read; 1 ok 3", "line 1: read without a key"),
        ("1 add 1; 1 ok; 2 read; 2 ok {\"a\":1}", "line 3: a set cannot be read as {\"a\":1}"),
        ("1 add 1; 1 ok; 2 read; 2 ok 1; 2 read; 2 ok [1]", "line 5: a counter cannot be read as [1]"),
        ("1 add 1; 1 ok; 2 read; 2 ok", "line 3: a set cannot be read as null"),
        ("1 add \"a\"; 1 ok; 2 read; 2 ok 1", "line 1: \"a\" is not an amount to add"),
        ("1 add -1; 1 ok; 2 read; 2 ok 1", "line 1: -1 is not an amount to add"),
        ("1 increment 1.5", "line 1: 1.5 is not an amount to increment"),
        ("1 transfer {\"from\":1,\"to\":2}", "line 1: the value of a transfer has"),
        ("1 transfer {\"from\":1,\"to\":2,\"amount\":3}; 2 read; 2 ok [1]", "line 2: a bank cannot be read as [1]"),
        ("1 enqueue", "line 1: enqueue without a value"),
        ("1 enqueue 1; 1 ok 2", "line 2: the answer bears another value than the call"),
        ("1 acquire; 1 ok \"a\"", "line 2: \"a\" is no fencing token"),
        ("1 append 3", "line 1: the value of append is a text"),
        ("1 peek", "line 1: unknown variant `peek`"),
    ] {
        let error = refusal(steps);
        assert!(error.starts_with(expected), "{steps}: {error}");
    }
    let forced = History::read_as(
        script("1 add 1").as_bytes(),
        Reading { model: Some(ObjectKind::Queue), ..Reading::default() },
    );
    assert_eq!(forced.expect_err("no queue").to_string(), "line 1: add is no call of a queue");
}

/// Texts that a search cannot decide stand before one that is wrong: the budget must not be gone by then.
#[test]
fn what_is_wrong_is_found_beside_what_takes_long() {
    let event = |process, kind, function, key: &str, value: Value, time| HistoryEvent {
        process,
        kind,
        function,
        key: Some(key.into()),
        value,
        time,
    };
    let mut events = Vec::new();
    for process in 0..40_u64 {
        events.push(event(process, EventKind::Invoke, Function::Append, "a", json!("y"), process));
    }
    for process in 0..40_u64 {
        events.push(event(process, EventKind::Ok, Function::Append, "a", json!("y"), 100));
    }
    // Every order of the forty is a beginning of the forty-one that are found.
    for (key, found) in [("a", "y".repeat(41)), ("b", "x".to_owned())] {
        events.push(event(90, EventKind::Invoke, Function::Get, key, Value::Null, 200));
        events.push(event(90, EventKind::Ok, Function::Get, key, json!(found), 201));
    }
    let history = History::from_events(events).expect("a history");
    let judged = history.judge(SearchBudget::of_steps(1_200_000));
    assert_eq!(judged.verdict(), Verdict::Violated, "{judged}");
    assert_eq!(judged.undecided, ["text \"a\""], "{judged}");
}

/// Twenty clients append at once, while another puts: twelve of the appends are overwritten unseen, in any order.
#[test]
fn texts_that_are_overwritten_unseen_take_few_steps() {
    let mut events = Vec::new();
    for round in 0..10_u64 {
        let at = |kind, process, function, value: &str| HistoryEvent {
            process,
            kind,
            function,
            key: Some("a".into()),
            value: json!(value),
            time: 0,
        };
        let texts = (0..20).map(|client| (client, Function::Append, format!("{round}.{client};")));
        let calls: Vec<_> = texts.chain([(20, Function::Put, format!("{round};"))]).collect();
        for kind in [EventKind::Invoke, EventKind::Ok] {
            events.extend(calls.iter().map(|(client, function, text)| at(kind, *client, *function, text)));
        }
        let after: String = (12..20).rev().map(|client| format!("{round}.{client};")).collect();
        events.push(at(EventKind::Invoke, 30, Function::Get, ""));
        events.push(at(EventKind::Ok, 30, Function::Get, &format!("{round};{after}")));
    }
    let judged = History::from_events(events).expect("a history").judge(SearchBudget::of_steps(20_000_000));
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
}

/// What a thing does with a call: its answer, or nothing if it refuses.
trait Thing: Clone {
    const KIND: ObjectKind;
    fn call(random: &mut Random, number: u64) -> (Function, Value);
    fn effect(&mut self, function: Function, called: &Value) -> Option<Value>;
}

#[derive(Clone, Default)]
struct Queue(VecDeque<Value>);

impl Thing for Queue {
    const KIND: ObjectKind = ObjectKind::Queue;

    fn call(random: &mut Random, number: u64) -> (Function, Value) {
        if random.between(0, 2) == 0 { (Function::Enqueue, json!(number)) } else { (Function::Dequeue, Value::Null) }
    }

    fn effect(&mut self, function: Function, called: &Value) -> Option<Value> {
        if function == Function::Enqueue {
            self.0.push_back(called.clone());
            return Some(called.clone());
        }
        Some(self.0.pop_front().unwrap_or(Value::Null))
    }
}

#[derive(Clone, Default)]
struct Set(BTreeSet<u64>);

impl Thing for Set {
    const KIND: ObjectKind = ObjectKind::Set;

    fn call(random: &mut Random, number: u64) -> (Function, Value) {
        // Now and then a member is added once more.
        let number = if random.between(0, 5) == 0 { number / 2 } else { number };
        if random.between(0, 2) == 0 { (Function::Add, json!(number)) } else { (Function::Read, Value::Null) }
    }

    fn effect(&mut self, function: Function, called: &Value) -> Option<Value> {
        if function == Function::Add {
            self.0.insert(called.as_u64()?);
            return Some(called.clone());
        }
        Some(json!(self.0))
    }
}

/// Adds ones, and where `ANY` other amounts too, some of them told the sum.
#[derive(Clone, Default)]
struct Counter<const ANY: bool>(u64);

impl<const ANY: bool> Thing for Counter<ANY> {
    const KIND: ObjectKind = ObjectKind::Counter;

    fn call(random: &mut Random, _: u64) -> (Function, Value) {
        match random.between(0, 6) {
            0..3 => (Function::Read, Value::Null),
            3 if ANY => (Function::Increment, json!(random.between(0, 3))),
            _ => (Function::Add, json!(if ANY { random.between(1, 3) } else { 1 })),
        }
    }

    fn effect(&mut self, function: Function, called: &Value) -> Option<Value> {
        self.0 += called.as_u64().unwrap_or(0);
        Some(if function == Function::Add { called.clone() } else { json!(self.0) })
    }
}

#[derive(Clone, Default)]
struct Text(String);

impl Thing for Text {
    const KIND: ObjectKind = ObjectKind::Text;

    fn call(random: &mut Random, number: u64) -> (Function, Value) {
        let text = json!(["a", "b", "ab"][pick(random, 3)]);
        match random.between(0, 6) {
            0..3 => (Function::Get, Value::Null),
            3 => (Function::Put, text),
            4 => (Function::Append, text),
            _ => (Function::Append, json!(number.to_string())),
        }
    }

    fn effect(&mut self, function: Function, called: &Value) -> Option<Value> {
        let text = called.as_str().unwrap_or("");
        match function {
            Function::Get => return Some(json!(self.0)),
            Function::Put => text.clone_into(&mut self.0),
            _ => self.0.push_str(text),
        }
        Some(called.clone())
    }
}

/// Gives tokens, and is let go of by token.
#[derive(Clone, Default)]
struct Lock {
    holder: Option<u64>,
    last: u64,
}

impl Thing for Lock {
    const KIND: ObjectKind = ObjectKind::Lock;

    fn call(random: &mut Random, number: u64) -> (Function, Value) {
        if random.between(0, 2) == 0 {
            (Function::Acquire, Value::Null)
        } else {
            (Function::Release, json!(number / 2))
        }
    }

    fn effect(&mut self, function: Function, called: &Value) -> Option<Value> {
        if function == Function::Acquire {
            if self.holder.is_some() {
                return None;
            }
            self.last += 1;
            self.holder = Some(self.last);
            return Some(json!(self.last));
        }
        if self.holder != called.as_u64() {
            return None;
        }
        self.holder = None;
        Some(called.clone())
    }
}

fn history_of<T: Thing + Default>(random: &mut Random, shape: &Shape) -> Vec<HistoryEvent> {
    let mut thing = T::default();
    let mut number = 0;
    let call = |random: &mut Random| {
        number += 1;
        let (function, value) = T::call(random, number);
        (function, Some("x".to_owned()), value)
    };
    generate(random, shape, call, |function, _, called| thing.effect(function, called))
}

fn judge_events<T: Thing>(events: &[HistoryEvent]) -> Judgement {
    let mut lines = Vec::new();
    write_events(&mut lines, events).expect("written");
    // Reads alone do not tell what is read.
    let reading = Reading { model: Some(T::KIND), ..Reading::default() };
    History::read_as(&*lines, reading).expect("a history").judge(SearchBudget::default())
}

/// Exchanges what two calls were answered, or changes one answer.
fn spoil(random: &mut Random, events: &mut [HistoryEvent]) {
    let asked = |event: &HistoryEvent| matches!(event.function, Function::Read | Function::Get | Function::Dequeue);
    let told = |event: &HistoryEvent| matches!(event.function, Function::Increment | Function::Acquire);
    let answers: Vec<usize> = (0..events.len())
        .filter(|at| events[*at].kind == EventKind::Ok && (asked(&events[*at]) || told(&events[*at])))
        .collect();
    if answers.len() < 2 {
        return;
    }
    let (one, other) = (answers[pick(random, answers.len())], answers[pick(random, answers.len())]);
    if events[one].function == events[other].function {
        let value = events[one].value.clone();
        events[one].value = std::mem::replace(&mut events[other].value, value);
    }
}

/// Whether some order of these calls makes the thing answer so. Of a call of unknown outcome only the effect counts.
fn fits<T: Thing + Default>(events: &[HistoryEvent]) -> bool {
    let mut calls: Vec<(u64, Option<u64>)> = Vec::new();
    let mut done: Vec<(&HistoryEvent, Option<&HistoryEvent>)> = Vec::new();
    let mut waiting = BTreeMap::new();
    for (moment, event) in (0..).zip(events) {
        if event.kind == EventKind::Invoke {
            waiting.insert(event.process, (moment, event));
            continue;
        }
        let (from, call) = waiting.remove(&event.process).expect("called before");
        if event.kind != EventKind::Fail {
            let is_ok = event.kind == EventKind::Ok;
            calls.push((from, is_ok.then_some(moment)));
            done.push((call, is_ok.then_some(event)));
        }
    }
    some_order_fits(&calls, &T::default(), &|thing: &mut T, number| {
        let (call, end) = done[number];
        let answer = thing.effect(call.function, &call.value);
        end.is_none_or(|end| answer.as_ref() == Some(&end.value))
    })
}

/// Small histories, spoilt or not: the judge says the same as trying every order.
fn agrees_with_trying_every_order<T: Thing + Default>(seeds: u64) {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..seeds {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 6, processes: 3, keys: 1, unknown_percent: 12 };
        let mut events = history_of::<T>(&mut random, &shape);
        for _ in 0..random.between(0, 3) {
            spoil(&mut random, &mut events);
        }
        let expected = fits::<T>(&events);
        let judged = judge_events::<T>(&events);
        let is_fine = judged.verdict() != Verdict::Violated;
        assert_eq!(is_fine, expected, "seed {seed}: {judged}\n{events:#?}");
        assert!(judged.undecided.is_empty(), "seed {seed}: {judged}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > seeds / 10 && bad > seeds / 20, "{good} good, {bad} bad");
}

#[test]
fn queues_agree_with_trying_every_order() {
    agrees_with_trying_every_order::<Queue>(3_000);
}

#[test]
fn sets_agree_with_trying_every_order() {
    agrees_with_trying_every_order::<Set>(3_000);
}

#[test]
fn counters_agree_with_trying_every_order() {
    agrees_with_trying_every_order::<Counter<false>>(3_000);
    agrees_with_trying_every_order::<Counter<true>>(3_000);
}

#[test]
fn texts_agree_with_trying_every_order() {
    agrees_with_trying_every_order::<Text>(3_000);
}

#[test]
fn locks_agree_with_trying_every_order() {
    agrees_with_trying_every_order::<Lock>(3_000);
}

/// Histories of many clients and thousands of calls hold, and one answer that is wrong is found.
#[test]
fn long_histories_are_judged() {
    fn long<T: Thing + Default>(processes: u64, unknown_percent: u64, calls: usize) {
        let mut random = Random::new(calls as u64);
        let shape = Shape { calls, processes, keys: 1, unknown_percent };
        let mut events = history_of::<T>(&mut random, &shape);
        let verdict = |events: &[HistoryEvent]| {
            let judged = judge_events::<T>(events);
            (judged.verdict(), judged.to_string())
        };
        let (judged, words) = verdict(&events);
        assert_eq!(judged, Verdict::Holds, "{words}");
        let answers: Vec<usize> = (0..events.len())
            .filter(|at| {
                events[*at].kind == EventKind::Ok && matches!(events[*at].function, Function::Read | Function::Get)
            })
            .collect();
        let (Some(early), Some(late)) = (answers.get(answers.len() / 4), answers.last()) else { return };
        events[*late].value = events[*early].value.clone();
        assert_eq!(verdict(&events).0, Verdict::Violated);
    }
    long::<Queue>(20, 0, 20_000);
    long::<Set>(20, 5, 1_000);
    long::<Counter<false>>(20, 5, 20_000);
    long::<Text>(4, 0, 1_000);
    long::<Lock>(20, 0, 5_000);
}
