//! Histories as a correct system makes them, and a slow judge that tries every order.

use quorate_protocol::Random;
use quorate_simulation::history::{EventKind, Function, HistoryEvent};
use serde_json::{Value, json};

/// How a generated history looks.
pub(crate) struct Shape {
    pub(crate) calls: usize,
    pub(crate) processes: u64,
    pub(crate) keys: u64,
    /// Of a hundred calls, how many end with `info`.
    pub(crate) unknown_percent: u64,
}

struct Running {
    process: u64,
    function: Function,
    key: Option<String>,
    called: Value,
    answered: Value,
    /// Whether it took effect already, and how it will end.
    is_done: bool,
    end: EventKind,
}

/// Runs `processes` clients against one object, `effect` being what a call does: it fills the answer in and says
/// whether it succeeded. Each call takes effect at some moment between call and answer.
pub(crate) fn generate(
    random: &mut Random,
    shape: &Shape,
    mut call: impl FnMut(&mut Random) -> (Function, Option<String>, Value),
    mut effect: impl FnMut(Function, Option<&str>, &Value) -> Option<Value>,
) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let mut adrift: Vec<Running> = Vec::new();
    let (mut made, mut time) = (0, 0);
    while made < shape.calls || !running.is_empty() {
        time += random.between(1, 50);
        let event = |each: &Running, kind: EventKind, value: &Value| HistoryEvent {
            process: each.process,
            kind,
            function: each.function,
            key: each.key.clone().map(Into::into),
            value: value.clone(),
            time,
        };
        // A call of unknown outcome may take effect long after its end, or never.
        if !adrift.is_empty() && random.between(0, 20) == 0 {
            let late = adrift.swap_remove(pick(random, adrift.len()));
            effect(late.function, late.key.as_deref(), &late.called);
        }
        let free = (0..shape.processes).find(|process| running.iter().all(|each| each.process != *process));
        if let Some(process) = free.filter(|_| made < shape.calls && random.between(0, 3) > 0) {
            let (function, key, called) = call(random);
            let end = if random.between(0, 100) < shape.unknown_percent { EventKind::Info } else { EventKind::Ok };
            let each = Running { process, function, key, answered: called.clone(), called, is_done: false, end };
            events.push(event(&each, EventKind::Invoke, &each.called));
            running.push(each);
            made += 1;
            continue;
        }
        if running.is_empty() {
            continue;
        }
        let at = pick(random, running.len());
        let each = &mut running[at];
        if !each.is_done && (each.end == EventKind::Ok || random.between(0, 2) == 0) {
            each.is_done = true;
            match effect(each.function, each.key.as_deref(), &each.called) {
                Some(answer) => each.answered = answer,
                None if each.end == EventKind::Ok => each.end = EventKind::Fail,
                None => {}
            }
            continue;
        }
        let each = running.swap_remove(at);
        // Of a transaction that took effect and was lost the reads may be known all the same.
        let is_told = each.is_done && each.function == Function::Txn && random.between(0, 2) == 0;
        let value = if each.end == EventKind::Ok || (each.end == EventKind::Info && is_told) {
            &each.answered
        } else {
            &each.called
        };
        events.push(event(&each, each.end, value));
        if !each.is_done {
            adrift.push(each);
        }
    }
    events
}

pub(crate) fn pick(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.between(0, length as u64)).expect("fits")
}

/// A history of registers whose values are drawn from `values`; none: every write writes a new one.
pub(crate) fn registers(random: &mut Random, shape: &Shape, values: Option<u64>) -> Vec<HistoryEvent> {
    let mut state = std::collections::BTreeMap::<String, Value>::new();
    let mut last = 0;
    let keys = shape.keys;
    let call = |random: &mut Random| {
        let key = Some(format!("k{}", random.between(0, keys)));
        let mut value = |random: &mut Random| {
            last += 1;
            values.map_or(json!(last), |values| json!(random.between(0, values)))
        };
        match random.between(0, 10) {
            0..5 => (Function::Read, key, Value::Null),
            5..8 => (Function::Write, key, value(random)),
            _ => {
                let new = value(random);
                let old = json!(new.as_u64().unwrap_or(0).saturating_sub(random.between(1, 4)));
                (Function::Cas, key, json!([old, new]))
            }
        }
    };
    let effect = |function, key: Option<&str>, called: &Value| {
        let held = state.entry(key.expect("registers have keys").to_owned()).or_insert(Value::Null);
        match function {
            Function::Read => return Some(held.clone()),
            Function::Write => *held = called.clone(),
            Function::Cas if *held == called[0] => *held = called[1].clone(),
            _ => return None,
        }
        Some(called.clone())
    };
    generate(random, shape, call, effect)
}

/// A history of transactions over lists.
pub(crate) fn lists(random: &mut Random, shape: &Shape) -> Vec<HistoryEvent> {
    let mut state = std::collections::BTreeMap::<String, Vec<Value>>::new();
    let mut last = 0;
    let keys = shape.keys;
    let call = |random: &mut Random| {
        let steps = (0..random.between(1, 4)).map(|_| {
            let key = format!("l{}", random.between(0, keys));
            if random.between(0, 2) == 0 {
                return json!(["r", key, null]);
            }
            last += 1;
            json!(["append", key, last])
        });
        (Function::Txn, None, steps.collect())
    };
    let effect = |_, _: Option<&str>, called: &Value| {
        let steps = called.as_array().expect("a list of steps").iter().map(|step| {
            let list = state.entry(step[1].as_str().expect("a key").to_owned()).or_default();
            if step[0] == "append" {
                list.push(step[2].clone());
                return step.clone();
            }
            json!(["r", step[1], list])
        });
        Some(steps.collect())
    };
    generate(random, shape, call, effect)
}

/// Whether some order of the calls, those of unknown outcome done or not, satisfies `effect`, which gives whether a
/// call can have been answered so in a state, and changes the state.
pub(crate) fn some_order_fits<S: Clone>(
    calls: &[(u64, Option<u64>)],
    state: &S,
    effect: &impl Fn(&mut S, usize) -> bool,
) -> bool {
    fn search<S: Clone>(
        calls: &[(u64, Option<u64>)],
        placed: &mut Vec<bool>,
        state: &S,
        effect: &impl Fn(&mut S, usize) -> bool,
    ) -> bool {
        let is_waiting = |number: &usize| !placed[*number];
        let waiting: Vec<usize> = (0..calls.len()).filter(is_waiting).collect();
        if waiting.iter().all(|number| calls[*number].1.is_none()) {
            return true;
        }
        let first_answer = waiting.iter().filter_map(|number| calls[*number].1).min().unwrap_or(u64::MAX);
        for number in waiting {
            if calls[number].0 > first_answer {
                continue;
            }
            let mut next = state.clone();
            if !effect(&mut next, number) {
                continue;
            }
            placed[number] = true;
            let is_found = search(calls, placed, &next, effect);
            placed[number] = false;
            if is_found {
                return true;
            }
        }
        false
    }
    search(calls, &mut vec![false; calls.len()], state, effect)
}
