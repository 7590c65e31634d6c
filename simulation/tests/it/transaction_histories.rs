//! Transactions over lists: each anomaly is found under its name, and the judge agrees with one that tries every order.

use std::collections::BTreeMap;

use quorate_protocol::Random;
use quorate_simulation::history::{EventKind, Function, History, HistoryEvent, Judgement, SearchBudget, Verdict};
use serde_json::{Value, json};

use crate::history_generator::{Shape, lists, pick, some_order_fits};

fn judge(events: Vec<HistoryEvent>) -> Judgement {
    History::from_events(events).expect("a history").judge(SearchBudget::default())
}

/// One transaction: when it was called, when and how it ended, its steps as answered.
fn transaction(process: u64, from: u64, to: u64, kind: EventKind, steps: Value) -> [HistoryEvent; 2] {
    let asked: Value = steps.as_array().expect("steps").iter().map(asked).collect();
    let event = |kind, value, time| HistoryEvent { process, kind, function: Function::Txn, key: None, value, time };
    let end = if kind == EventKind::Ok { steps } else { asked.clone() };
    [event(EventKind::Invoke, asked, from), event(kind, end, to)]
}

fn asked(step: &Value) -> Value {
    if step[0] == "r" { json!(["r", step[1], null]) } else { step.clone() }
}

/// All under way at once.
fn at_once(transactions: &[Value]) -> Vec<HistoryEvent> {
    let each = |(number, steps): (usize, &Value)| {
        transaction(number as u64, number as u64, 100 + number as u64, EventKind::Ok, steps.clone())
    };
    let mut events: Vec<HistoryEvent> = transactions.iter().enumerate().flat_map(each).collect();
    events.sort_by_key(|event| event.time);
    events
}

fn names(judgement: &Judgement) -> Vec<&str> {
    judgement.findings.iter().map(|finding| finding.name.as_str()).collect()
}

/// The names that Elle has for what it finds, without the words behind.
fn short_names(judgement: &Judgement) -> Vec<&str> {
    names(judgement).into_iter().map(|name| name.split(',').next().expect("a name")).collect()
}

#[test]
fn each_anomaly_has_the_name_that_elle_has_for_it() {
    let cases: [(&[&str], Value); 13] = [
        (
            &["G0"],
            json!([
                [["append", "x", 1], ["append", "y", 1]],
                [["append", "x", 2], ["append", "y", 2]],
                [["r", "x", [1, 2]], ["r", "y", [2, 1]]]
            ]),
        ),
        (&["G1c"], json!([[["append", "x", 1], ["r", "y", [1]]], [["append", "y", 1], ["r", "x", [1]]]])),
        (&["G-single-item"], json!([[["append", "x", 1], ["append", "y", 1]], [["r", "x", []], ["r", "y", [1]]]])),
        // Two anti-dependencies, with what was read between them.
        (
            &["G-nonadjacent-item"],
            json!([
                [["append", "x", 1], ["append", "t", 1]],
                [["r", "x", [1]], ["r", "y", []]],
                [["append", "y", 1], ["append", "z", 2]],
                [["r", "z", [2]], ["r", "t", []]]
            ]),
        ),
        (&["G2-item"], json!([[["append", "x", 1], ["r", "y", []]], [["append", "y", 1], ["r", "x", []]]])),
        // An update is lost: both read the same and append behind it.
        (
            &["lost-update", "G2-item"],
            json!([[["r", "x", []], ["append", "x", 1]], [["r", "x", []], ["append", "x", 2]]]),
        ),
        (
            &["lost-update", "G-single-item"],
            json!([[["r", "x", []], ["append", "x", 1]], [["r", "x", []], ["append", "x", 2]], [["r", "x", [1, 2]]]]),
        ),
        (&["garbage read"], json!([[["r", "x", [1]]]])),
        (
            &["incompatible-order"],
            json!([[["append", "x", 1]], [["append", "x", 2]], [["r", "x", [1, 2]]], [["r", "x", [2]]]]),
        ),
        (&["internal"], json!([[["append", "x", 1], ["r", "x", []]]])),
        (&["future-read"], json!([[["r", "x", [1]], ["append", "x", 1]]])),
        (&["G1b"], json!([[["append", "x", 1], ["append", "x", 2]], [["r", "x", [1]]]])),
        (&["duplicate-elements"], json!([[["append", "x", 1]], [["r", "x", [1, 1]]]])),
    ];
    for (expected, transactions) in cases {
        let judged = judge(at_once(transactions.as_array().expect("transactions")));
        let names = short_names(&judged);
        assert!(expected.iter().all(|name| names.contains(name)), "{expected:?} of {names:?}, {transactions}");
        // A cycle is of the worst kind that there is, and has a picture.
        let cycles: Vec<&str> =
            names.into_iter().filter(|name| name.starts_with('G') && !["G1b"].contains(name)).collect();
        assert!(cycles.iter().all(|name| expected.contains(name)) || expected == ["G1b"], "{cycles:?}, {transactions}");
    }
}

/// What one process sees against its own order is worse than what only the clock tells.
#[test]
fn what_a_process_did_and_saw_is_told_apart_from_the_clock() {
    let of = |processes: [u64; 3], steps: Value| {
        let transactions = steps.as_array().expect("transactions");
        let each = |number: usize| {
            let at = number as u64 * 10;
            transaction(processes[number], at, at + 1, EventKind::Ok, transactions[number].clone())
        };
        judge((0..transactions.len()).flat_map(each).collect())
    };
    let stale = json!([[["append", "x", 1]], [["r", "x", []]]]);
    assert_eq!(short_names(&of([1, 1, 1], stale.clone())), ["G-single-item-process"]);
    assert_eq!(short_names(&of([1, 2, 1], stale)), ["G-single-item-realtime"]);
    let writes = json!([[["append", "x", 1]], [["append", "x", 2]], [["r", "x", [2, 1]]]]);
    assert_eq!(short_names(&of([1, 1, 2], writes.clone())), ["G0-process"]);
    assert_eq!(short_names(&of([1, 2, 3], writes)), ["G0-realtime"]);
    let future = json!([[["r", "x", [1]]], [["append", "x", 1]]]);
    assert_eq!(short_names(&of([1, 1, 2], future.clone())), ["G1c-process"]);
    assert_eq!(short_names(&of([1, 2, 2], future)), ["G1c-realtime"]);
}

/// As Elle: a cycle is told if no worse one of its knot implies it.
#[test]
fn a_knot_has_a_cycle_of_each_kind_that_no_worse_one_implies() {
    let skew =
        [json!([["append", "x", 1], ["r", "y", []], ["r", "z", []]]), json!([["append", "y", 1], ["r", "x", []]])];
    // The write of z was answered before any other call.
    let late = |transactions: &[Value]| {
        let mut events = transaction(90, 0, 1, EventKind::Ok, json!([["append", "z", 1]])).to_vec();
        events.extend(at_once(transactions).into_iter().map(|event| HistoryEvent { time: event.time + 2, ..event }));
        judge(events)
    };
    assert_eq!(short_names(&late(&skew)), ["G2-item", "G-single-item-realtime"]);
    assert_eq!(short_names(&late(&skew[..1])), ["G-single-item-realtime"]);
    // Cycles with and without anti-dependencies do not imply each other.
    let writes = [
        json!([["append", "a", 1], ["append", "b", 1]]),
        json!([["append", "a", 2], ["append", "b", 2], ["append", "c", 1]]),
        json!([["r", "a", [1, 2]], ["r", "b", [2, 1]], ["r", "c", []]]),
    ];
    assert_eq!(short_names(&judge(at_once(&writes))), ["G0", "G-single-item"]);
}

/// Each read of a transaction counts, also those that contradict another.
#[test]
fn reads_that_contradict_each_other_count_too() {
    let of = |transactions: Value| judge(at_once(transactions.as_array().expect("transactions")));
    let appends = [json!([["append", "x", 1]]), json!([["append", "x", 2]]), json!([["append", "x", 3]])];
    let with = |reads: Value| {
        let all: Vec<Value> = appends.iter().cloned().chain([reads, json!([["r", "x", [1, 2, 3]]])]).collect();
        of(all.into())
    };
    let judged = with(json!([["r", "x", [1]], ["r", "x", [1, 2]]]));
    assert_eq!(short_names(&judged), ["internal", "G-single-item"]);
    assert!(judged.to_string().contains("T4 found x up to 1, without what T2 appended"), "{judged}");
    // As long, but another list.
    let judged = with(json!([["r", "x", [1, 2]], ["r", "x", [1, 3]]]));
    assert_eq!(short_names(&judged), ["incompatible-order", "internal", "G-single-item"]);
    // A list that contradicts the longest shows what comes before its last element.
    let judged = with(json!([["r", "x", [2]], ["append", "x", 4]]));
    assert_eq!(short_names(&judged), ["incompatible-order", "G-single-item"]);
    let intermediate = json!([[["append", "x", 1], ["append", "x", 2]], [["r", "x", []], ["r", "x", [1]]]]);
    assert!(short_names(&of(intermediate)).starts_with(&["G1b", "internal"]));
    // The failed append is in the shorter list only.
    let mut events = transaction(9, 0, 1, EventKind::Fail, json!([["append", "x", 9]])).to_vec();
    let others =
        [json!([["append", "x", 1]]), json!([["r", "x", [9]]]), json!([["append", "x", 2], ["r", "x", [1, 2]]])];
    events.extend(at_once(&others).into_iter().map(|event| HistoryEvent { time: event.time + 2, ..event }));
    assert_eq!(short_names(&judge(events)), ["G1a", "incompatible-order"]);
}

/// Both read the same before they appended for the last time.
#[test]
fn an_update_is_lost_also_behind_an_own_append() {
    let transactions = [
        json!([["append", "x", 1], ["r", "x", [1]], ["append", "x", 2]]),
        json!([["r", "x", [1]], ["append", "x", 3]]),
    ];
    assert!(short_names(&judge(at_once(&transactions))).contains(&"lost-update"));
}

#[test]
fn a_cycle_is_a_picture() {
    let judged =
        judge(at_once(&[json!([["append", "<x>", 1], ["r", "y", []]]), json!([["append", "y", 1], ["r", "<x>", []]])]));
    let picture = judged.findings[0].picture.as_ref().expect("a cycle");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    for part in ["G2-item, anti-dependency cycle", "append 1 to &lt;x&gt;", "read y as []", "rw: T", "class=\"back\""] {
        assert!(picture.contains(part), "{part} is not in {picture}");
    }
    assert_eq!(picture.matches("<rect x=").count(), 2);
    let garbage = judge(at_once(&[json!([["r", "x", [1]]])]));
    assert_eq!(garbage.findings[0].picture, None);
}

#[test]
fn an_update_of_what_failed_is_found() {
    let one = |process, at, kind, steps| transaction(process, at, at + 1, kind, steps);
    let events = [
        one(1, 1, EventKind::Fail, json!([["append", "x", 1]])),
        one(2, 3, EventKind::Info, json!([["append", "x", 2]])),
        one(3, 5, EventKind::Ok, json!([["append", "x", 3]])),
        one(4, 7, EventKind::Ok, json!([["r", "x", [1, 2, 3]]])),
    ];
    assert_eq!(short_names(&judge(events.concat())), ["G1a", "dirty-update"]);
}

/// Whose it is could not be told by reading, so that nothing could be judged.
#[test]
fn an_element_is_appended_once() {
    let append = json!([["append", "x", 1]]);
    let failed = transaction(1, 1, 2, EventKind::Fail, append.clone());
    let error = History::from_events([failed, transaction(1, 3, 4, EventKind::Ok, append)].concat());
    let error = error.expect_err("no history").to_string();
    assert!(error.starts_with("line 3: 1 is appended to list \"x\" as in line 1"), "{error}");
}

/// Elle's history `huge-scc.edn` in small: a stale read closes a knot with hundreds of dependencies that go forward.
#[test]
fn a_stale_read_is_found_in_a_large_knot() {
    let mut steps = vec![json!([["append", "x", 1], ["append", "k0", 1]]), json!([["r", "x", [1]]])];
    steps.extend((1..400).map(|i| json!([["append", format!("k{i}"), 1], ["r", format!("k{}", i + 1), []]])));
    steps.extend([json!([["append", "k400", 1], ["r", "x", []]]), json!([["r", "k400", [1]]])]);
    steps.extend((1..400).map(|i| json!([["r", format!("k{i}"), [1]]])));
    let each = |(number, steps): (u64, &Value)| {
        let at = 10 * number;
        transaction(number, at, at + 1, EventKind::Ok, steps.clone())
    };
    let judged = judge((0..).zip(&steps).flat_map(each).collect());
    assert_eq!(short_names(&judged), ["G-single-item-realtime"], "{judged}");
    assert!(judged.findings[0].explanation.contains("found nothing in x"), "{judged}");
}

/// A thousand contradictions of one kind do not hide those of another, or a cycle.
#[test]
fn many_contradictions_of_a_kind_are_counted() {
    let garbage: Vec<u64> = (1..=1000).collect();
    let mut transactions = vec![json!([["r", "g", garbage]]), json!([["append", "i", 1], ["r", "i", []]])];
    transactions.extend([json!([["append", "x", 1], ["r", "y", []]]), json!([["append", "y", 1], ["r", "x", []]])]);
    let judged = judge(at_once(&transactions));
    let mut names = short_names(&judged);
    names.dedup();
    assert_eq!(names, ["garbage read", "internal", "G2-item"]);
    assert_eq!(short_names(&judged).iter().filter(|name| **name == "garbage read").count(), 4);
    let text = judged.to_string();
    assert!(text.contains("g was read with 4 in it, which nobody appended.\n  And 996 more of this kind.\n"), "{text}");
}

#[test]
fn failed_transactions_must_not_be_seen() {
    let append = json!([["append", "x", 1]]);
    let read = transaction(2, 3, 4, EventKind::Ok, json!([["r", "x", [1]]]));
    let failed = [transaction(1, 1, 2, EventKind::Fail, append.clone()), read.clone()].concat();
    assert_eq!(names(&judge(failed)), ["G1a, aborted read"]);
    let unknown = [transaction(1, 1, 2, EventKind::Info, append), read].concat();
    assert_eq!(judge(unknown).verdict(), Verdict::Holds);
}

#[test]
fn reads_of_unknown_transactions_count_if_they_took_effect() {
    let lost = |steps: Value| {
        let [call, mut end] = transaction(2, 3, 4, EventKind::Info, steps.clone());
        end.value = steps;
        [call, end]
    };
    let append = transaction(1, 1, 2, EventKind::Ok, json!([["append", "x", 1]]));
    let seen = transaction(3, 5, 6, EventKind::Ok, json!([["r", "y", [7]]]));
    let stale = json!([["r", "x", []], ["append", "y", 7]]);
    let judged = judge([append.clone(), lost(stale.clone()), seen.clone()].concat());
    assert_eq!(names(&judged), ["G-single-item-realtime, stale read"], "{judged}");
    let fresh = json!([["r", "x", [1]], ["append", "y", 7]]);
    assert_eq!(judge([append.clone(), lost(fresh), seen.clone()].concat()).verdict(), Verdict::Holds);
    // What a later read does not find, though another did, is stale.
    let unseen = transaction(4, 7, 8, EventKind::Ok, json!([["r", "y", []]]));
    let asked_only = transaction(2, 3, 4, EventKind::Info, json!([["append", "y", 7]]));
    let judged = judge([asked_only, seen.clone(), unseen].concat());
    assert_eq!(names(&judged), ["G-single-item-realtime, stale read"], "{judged}");
    // Nobody saw what it appended: it need never have happened. What an end without reads says, says nothing.
    assert_eq!(judge([append.clone(), lost(stale.clone())].concat()).verdict(), Verdict::Holds);
    let [call, mut end] = lost(stale);
    for value in [json!(null), json!("timed out"), json!([["r", "x", null], ["append", "y", 7]])] {
        end.value = value;
        let events = [append.to_vec(), vec![call.clone(), end.clone()], seen.to_vec()].concat();
        assert_eq!(judge(events).verdict(), Verdict::Holds, "{}", end.value);
    }
    end.value = json!([["r", "z", []], ["append", "y", 7]]);
    let error = History::from_events([call, end]).expect_err("other steps").to_string();
    assert_eq!(error, "line 2: the answer has other steps than the call");
}

/// One unknown transaction that took effect shows that another did, whose reads then count too.
#[test]
fn unknown_transactions_are_followed_through_each_other() {
    let lost = |process, at, steps: Value| {
        let [call, mut end] = transaction(process, at, at + 1, EventKind::Info, steps.clone());
        end.value = steps;
        [call, end]
    };
    let events = [
        transaction(1, 1, 2, EventKind::Ok, json!([["append", "x", 1]])),
        lost(2, 3, json!([["r", "x", []], ["append", "y", 7]])),
        lost(3, 5, json!([["r", "y", [7]], ["append", "z", 8]])),
        transaction(4, 7, 8, EventKind::Ok, json!([["r", "z", [8]]])),
    ];
    assert_eq!(names(&judge(events.concat())), ["G-single-item-realtime, stale read"]);
    assert_eq!(judge(events[..3].concat()).verdict(), Verdict::Holds);
}

#[test]
fn numbers_and_texts_are_different_keys_and_elements() {
    let judged = judge(at_once(&[json!([["append", 1, 1]]), json!([["append", "1", 1]]), json!([["append", 1, "1"]])]));
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
    let judged = judge(at_once(&[json!([["append", 1, 5]]), json!([["r", "1", [5]]])]));
    assert_eq!(names(&judged), ["garbage read"]);
    assert!(judged.to_string().contains("\"1\" was read with 5 in it"), "{judged}");
    let lines = ["18446744073709551617", "18446744073709551619"].map(|element| {
        let line = |kind: &str| {
            format!(r#"{{"process":1,"type":"{kind}","f":"txn","value":[["append","x",{element}]],"time":1}}"#)
        };
        [line("invoke"), line("ok")].join("\n")
    });
    let judged = History::read(lines.join("\n").as_bytes()).expect("a history").judge(SearchBudget::default());
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
}

#[test]
fn a_spent_budget_still_tells_a_cycle() {
    let mut random = Random::new(3);
    let shape = Shape { calls: 300, processes: 9, keys: 2, unknown_percent: 5 };
    let mut events = lists(&mut random, &shape);
    for _ in 0..10 {
        spoil(&mut random, &mut events);
    }
    let history = History::from_events(events).expect("a history");
    let steps = |budget| history.judge(SearchBudget::of_steps(budget));
    assert_eq!(steps(200_000_000).verdict(), Verdict::Violated);
    assert_eq!(steps(10).verdict(), Verdict::Undecided);
    assert!(steps(10).to_string().contains("not judged for want of steps: the transactions"));
    // Enough to read it, and nothing to look for the worst cycle with.
    let just_enough =
        (0..1_000_000).map(|budget| budget * 1_000).find(|budget| steps(*budget).verdict() != Verdict::Undecided);
    assert_eq!(steps(just_enough.expect("enough")).verdict(), Verdict::Violated);
}

#[test]
fn real_time_counts() {
    let stale = [
        transaction(1, 1, 2, EventKind::Ok, json!([["append", "x", 1]])),
        transaction(2, 3, 4, EventKind::Ok, json!([["r", "x", []]])),
    ];
    let judged = judge(stale.concat());
    let expected = "\
2 calls, 0 registers, 2 transactions: VIOLATED

G-single-item-realtime, stale read
  T1 (line 1, process 1, called at 1, answered at 2): append 1 to x
  T3 (line 3, process 2, called at 3, answered at 4): read x as []
  T3 comes before T1, because T3 found nothing in x, without what T1 appended.
  T1 comes before T3, because T1 was answered at 2 and T3 called at 3: a cycle.";
    assert_eq!(judged.to_string(), expected);
}

#[test]
fn own_appends_are_read_back() {
    let good = [
        json!([["append", "x", 1], ["r", "x", [1]], ["append", "x", 2], ["r", "x", [1, 2]]]),
        json!([["r", "x", [1, 2]], ["append", "x", 3], ["r", "x", [1, 2, 3]]]),
    ];
    let judged = judge(at_once(&good));
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
}

#[test]
fn what_a_correct_store_does_holds() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 200, processes: 1 + seed % 9, keys: 1 + seed % 4, unknown_percent: seed % 12 };
        let judged = judge(lists(&mut random, &shape));
        assert_eq!(judged.verdict(), Verdict::Holds, "seed {seed}: {judged}");
    }
}

/// Small good histories with one list changed: the judge agrees with trying every order.
#[test]
fn agrees_with_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..8_000 {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 5, processes: 3, keys: 2, unknown_percent: 15 };
        let mut events = lists(&mut random, &shape);
        for _ in 0..random.between(0, 3) {
            spoil(&mut random, &mut events);
        }
        let expected = fits(&events);
        let judged = judge(events.clone());
        assert_eq!(judged.verdict() == Verdict::Holds, expected, "seed {seed}: {judged}\n{events:?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}

/// Cuts a list that was read short, or swaps two of its elements, or moves a transaction in time.
fn spoil(random: &mut Random, events: &mut [HistoryEvent]) {
    let is_answered = |event: &HistoryEvent| [EventKind::Ok, EventKind::Info].contains(&event.kind);
    let answered: Vec<usize> = (0..events.len()).filter(|at| is_answered(&events[*at])).collect();
    if answered.is_empty() {
        return;
    }
    let at = answered[pick(random, answered.len())];
    for step in events[at].value.as_array_mut().expect("steps") {
        if step[0] != "r" {
            continue;
        }
        let Some(list) = step[2].as_array_mut() else { continue };
        if random.between(0, 2) == 0 {
            list.pop();
        } else if list.len() > 1 {
            let last = list.len() - 1;
            list.swap(last, last - 1);
        }
    }
}

type Lists = BTreeMap<String, Vec<Value>>;

fn fits(events: &[HistoryEvent]) -> bool {
    let mut calls: Vec<(u64, Option<u64>)> = Vec::new();
    let mut steps: Vec<Value> = Vec::new();
    let mut waiting = BTreeMap::new();
    for (moment, event) in (0..).zip(events) {
        if event.kind == EventKind::Invoke {
            waiting.insert(event.process, moment);
            continue;
        }
        let from = waiting.remove(&event.process).expect("called before");
        match event.kind {
            EventKind::Ok => {
                calls.push((from, Some(moment)));
                steps.push(event.value.clone());
            }
            EventKind::Info => {
                calls.push((from, None));
                steps.push(event.value.clone());
            }
            _ => {}
        }
    }
    some_order_fits(&calls, &Lists::new(), &|lists: &mut Lists, number| {
        steps[number].as_array().expect("steps").iter().all(|step| {
            let list = lists.entry(step[1].as_str().expect("a key").to_owned()).or_default();
            if step[0] == "append" {
                list.push(step[2].clone());
                return true;
            }
            step[2].is_null() || *list == *step[2].as_array().expect("a list")
        })
    })
}

#[test]
fn a_hundred_thousand_transactions_are_judged() {
    let mut random = Random::new(1);
    let shape = Shape { calls: 100_000, processes: 20, keys: 20_000, unknown_percent: 2 };
    let judged = judge(lists(&mut random, &shape));
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
}
