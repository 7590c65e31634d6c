//! Histories as Jepsen and the checkers about it write them.

use quorate_simulation::history::{History, NilRead, Reading, SearchBudget, Verdict};

fn read(text: &str, reading: Reading) -> History {
    History::read_as(text.as_bytes(), reading).expect("a history")
}

fn verdict(text: &str) -> Verdict {
    read(text, Reading::default()).judge(SearchBudget::default()).verdict()
}

fn refusal(text: &str) -> String {
    History::read(text.as_bytes()).expect_err("no history").to_string()
}

/// A write, and a read that finds `found`, in each of the forms.
fn in_every_form(found: &str) -> Vec<String> {
    let operations =
        [(0, "invoke", "write", "3"), (0, "ok", "write", "3"), (1, "invoke", "read", "nil"), (1, "ok", "read", found)];
    let map = |(process, kind, f, value)| format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}");
    let of_maps: Vec<String> = operations.iter().copied().map(map).collect();
    let vectors: Vec<String> =
        operations.iter().map(|(process, kind, f, value)| format!("[{process} :{kind} :{f} {value}]")).collect();
    let log: Vec<String> = operations
        .iter()
        .map(|(process, kind, f, value)| format!("INFO  jepsen.util - {process}\t:{kind}\t:{f}\t{value}"))
        .collect();
    let nemesis = "{:process :nemesis, :type :info, :f :start, :value \"cut\"}";
    vec![
        of_maps.join("\n"),
        format!("; from a store\n\n{}\n{nemesis}\n{nemesis}", of_maps.join("\n")),
        format!("[{}]", of_maps.join("\n ")),
        format!("({})", of_maps.join(" ")),
        format!("[{}]", vectors.join("\n")),
        vectors.join("\n"),
        of_maps.join("\n").replace("{:process", "#jepsen.history.Op{:time 17, :error [:x \"y\"], :process"),
        log.join("\n"),
        log.join("\n").replace('\t', "    "),
        format!("\u{feff}{}", of_maps.join("\r\n")),
        format!("INFO  jepsen.core - Worker 1 starting\n{}\nINFO  jepsen.core - all done", log.join("\n")),
    ]
}

#[test]
fn every_form_is_read_alike() {
    for good in in_every_form("3") {
        assert_eq!(verdict(&good), Verdict::Holds, "{good}");
        assert_eq!(read(&good, Reading::default()).len(), 2, "{good}");
    }
    for bad in in_every_form("4") {
        assert_eq!(verdict(&bad), Verdict::Violated, "{bad}");
    }
}

#[test]
fn what_a_read_of_nil_found_is_for_the_caller_to_say() {
    let judged =
        |text: &str, nil| read(text, Reading { nil, ..Reading::default() }).judge(SearchBudget::default()).verdict();
    for text in in_every_form("nil") {
        assert_eq!(judged(&text, Some(NilRead::Unknown)), Verdict::Holds, "{text}");
        assert_eq!(judged(&text, Some(NilRead::Absent)), Verdict::Violated, "{text}");
        let unless_told = if text.starts_with("INFO") { NilRead::Absent } else { NilRead::Unknown };
        assert_eq!(judged(&text, None), judged(&text, Some(unless_told)), "{text}");
    }
}

#[test]
fn independent_registers_are_told_by_how_reads_are_called() {
    let text = "{:process 0, :type :invoke, :f :write, :value [:a 3]}
        {:process 0, :type :ok, :f :write, :value [:a 3]}
        {:process 1, :type :invoke, :f :read, :value [\"b\" nil]}
        {:process 1, :type :ok, :f :read, :value [\"b\" nil]}
        {:process 1, :type :invoke, :f :cas, :value [:a [3 4]]}
        {:process 1, :type :info, :f :cas, :value [:a [3 4]], :error :timeout}
        {:process 2, :type :invoke, :f :read, :value [:a nil]}
        {:process 2, :type :ok, :f :read, :value [:a 4]}";
    let judged = read(text, Reading::default()).judge(SearchBudget::default());
    assert_eq!((judged.verdict(), judged.registers), (Verdict::Holds, 2), "{judged}");
    assert_eq!(verdict(&text.replace("[:a 4]}", "[:a 5]}")), Verdict::Violated);
    let as_one = Reading { is_independent: Some(false), ..Reading::default() };
    assert_eq!(read(text, as_one).judge(SearchBudget::default()).registers, 1);
}

#[test]
fn values_that_may_be_pairs_with_a_key_have_to_be_told() {
    let line = |process, kind, f, value| format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n");
    let cas = ["invoke", "ok"].map(|kind| line(0, kind, "cas", "[:a [1 2]]")).concat();
    assert!(refusal(&cas).starts_with("line 1: every value may be [key value]"));
    let judged = |is_independent| {
        let reading = Reading { is_independent: Some(is_independent), ..Reading::default() };
        read(&cas, reading).judge(SearchBudget::default()).verdict()
    };
    assert_eq!((judged(true), judged(false)), (Verdict::Violated, Verdict::Violated));
    // A read that is called with nothing, or a cas of something else, tells.
    for other in [line(1, "invoke", "read", "nil"), line(1, "invoke", "cas", "[:a 1]")] {
        assert_eq!(read(&format!("{cas}{other}"), Reading::default()).judge(SearchBudget::default()).registers, 1);
    }
    let keyed = format!("{cas}{}", line(1, "invoke", "read", "[:b nil]"));
    assert_eq!(read(&keyed, Reading::default()).judge(SearchBudget::default()).registers, 2);
    assert!(refusal(&format!("{keyed}{}", line(1, "ok", "read", "3"))).starts_with("line 4: 3 is not [key value]"));
    // An end that is no success may bear anything.
    let timeout = format!("{keyed}{}", line(1, "info", "read", ":timed-out"));
    assert_eq!(verdict(&timeout), Verdict::Violated);
}

#[test]
fn indices_are_the_order() {
    let line = |index, process, kind, f, value| {
        format!("{{:index {index}, :process {process}, :type :{kind}, :f :{f}, :value {value}}}\n")
    };
    let [write, wrote] = [line(0, 0, "invoke", "write", "1"), line(1, 0, "ok", "write", "1")];
    let [ask, found] = [line(2, 1, "invoke", "read", "nil"), line(3, 1, "ok", "read", "1")];
    assert_eq!(verdict(&[&*ask, &*found, &*write, &*wrote].concat()), Verdict::Holds);
    let two = [&*write, &*wrote, &*write, &*wrote].concat();
    assert!(refusal(&two).starts_with("line 3: the index 0 stands in line 1 too"), "{}", refusal(&two));
}

#[test]
fn sets_are_equal_in_any_order_and_keywords_are_no_texts() {
    let judged = |written: &str, found: &str| {
        verdict(&format!(
            "[0 :invoke :write {written}] [0 :ok :write {written}] [1 :invoke :read nil] [1 :ok :read {found}]"
        ))
    };
    assert_eq!(judged("#{1 2}", "#{2 1}"), Verdict::Holds);
    for (written, found) in [("#{1 2}", "[1 2]"), (":a", "\":a\""), ("{1 2}", "{\"1\" 2}"), ("##Inf", "##-Inf")] {
        assert_eq!(judged(written, found), Verdict::Violated, "{written} and {found}");
    }
}

/// As the logs of key-value stores in Porcupine's tests are written.
#[test]
fn texts_are_put_appended_and_got() {
    let text = |last: &str| {
        let line = |process, kind, f, value| {
            format!("{{:process {process}, :type :{kind}, :f :{f}, :key \"7\", :value \"{value}\"}}\n")
        };
        let ask = "{:process 1, :type :invoke, :f :get, :key \"7\", :value nil}\n";
        [
            ask.to_owned(),
            line(1, "ok", "get", ""),
            line(0, "invoke", "append", "x"),
            line(2, "invoke", "put", "w"),
            line(0, "ok", "append", "x"),
            line(2, "ok", "put", "w"),
            line(0, "invoke", "append", "y"),
            line(0, "ok", "append", "y"),
            ask.to_owned(),
            line(1, "ok", "get", last),
        ]
        .concat()
    };
    for (last, expected) in
        [("wxy", Verdict::Holds), ("wy", Verdict::Holds), ("xwy", Verdict::Violated), ("yw", Verdict::Violated)]
    {
        assert_eq!(verdict(&text(last)), expected, "{last}");
    }
    let judged = read(&text("xwy"), Reading::default()).judge(SearchBudget::default()).to_string();
    assert!(judged.contains("1 text: VIOLATED\n\ntext \"7\" is not linearizable\n"), "{judged}");
    assert!(judged.contains("get \"xwy\""), "{judged}");
}

#[test]
fn transactions_over_lists() {
    let text = "{:type :invoke, :f :txn, :value [[:append 1 1]], :process 0}
        {:type :ok, :f :txn, :value [[:append 1 1]], :process 0}
        {:type :invoke, :value [[:r 1 nil] [:append :y 7]], :process 1, :f nil}
        {:type :info, :value :timed-out, :process 1, :f nil}
        {:type :invoke, :f :txn, :value [[:r :y nil] [:r 2 nil]], :process 2}
        {:type :ok, :f :txn, :value [[:r :y [7]] [:r 2 nil]], :process 2}";
    assert_eq!(verdict(text), Verdict::Holds);
    let stale = text.replace(":info, :value :timed-out", ":info, :value [[:r 1 []] [:append :y 7]]");
    assert_eq!(verdict(&stale), Verdict::Violated);
    // A keyword is another key than the text that looks like it.
    let other_key = text.replace("[:r :y [7]]", "[:r \":y\" [7]]").replace("[[:r :y nil]", "[[:r \":y\" nil]");
    assert_eq!(verdict(&other_key), Verdict::Violated);
}

#[test]
fn what_cannot_be_judged_is_refused_by_line() {
    let write = "{:process 0, :type :invoke, :f :write, :value 1}";
    for (text, expected) in [
        (format!("{write}\n{{:process 0, :type :done, :f :write}}"), "line 2: :done is neither"),
        (format!("{write}\n\n[1 :invoke :drain nil]"), "line 3: no checker here knows the function :drain"),
        (format!("{write}\n\n[-1 :invoke :read nil]"), "line 3: -1 is no process"),
        (format!("{write}\n\n[99999999999999999999 :invoke :read nil]"), "line 3: 99999999999999999999 is no process"),
        (format!("{write}\n\n[\"1\" :invoke :read nil]"), "line 3: \"1\" is no process"),
        (format!("{write}\n\n{{:process 1, :process 2}}"), "line 3: a map has the key :process twice"),
        (format!("{write}\n[1 :invoke :read nil)"), "line 2: a value is missing"),
        (format!("{write}\n{{:process 0, :type :ok, :f :write, :value 017}}"), "line 2: 017 is no number"),
        (
            "INFO  jepsen.util - 1 :invoke :read nil\nINFO  jepsen.util - 1 :ok :read".to_owned(),
            "line 2: an operation without",
        ),
        (format!("{write}\n{write}"), "line 2: process 0 still waits for the answer to line 1"),
        (format!("{write}\n[1 :invoke"), "line 2: a list has no end"),
        (format!("{write}\n17"), "line 2: 17 is no operation"),
        ("17 calls".to_owned(), "line 1: invalid type"),
        ("INFO all is well\nand nothing happened".to_owned(), "line 1: expected value"),
        ("[1 :invoke :txn [[:w 1 2]]]".to_owned(), "line 1: [:w,1,2] is neither"),
    ] {
        let error = refusal(&text);
        assert!(error.starts_with(expected) || error.contains(expected), "{error} for {text}");
    }
}
