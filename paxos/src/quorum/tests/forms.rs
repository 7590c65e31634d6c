//! Texts and bytes.

use bytes::BytesMut;
use quorate_protocol::{NodeId, Random, StateError};

use super::super::{
    ACCEPTORS_MAX, QuorumError, QuorumRule, QuorumSystem, QuorumTextError, RULE_DEPTH_MAX, RULE_TERMS_MAX,
    SYSTEM_BYTES_MAX,
};
use super::{first, lists, random_rule};

fn bytes(system: &QuorumSystem) -> Vec<u8> {
    let mut out = BytesMut::new();
    system.encode(&mut out);
    out.to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random system, and its rules.
fn random_system(random: &mut Random) -> QuorumSystem {
    loop {
        let one = random_rule(random, 6, 3);
        let other = if random.between(0, 2) == 0 { one.clone() } else { random_rule(random, 6, 3) };
        if let Ok(system) = QuorumSystem::new(one, other) {
            return system;
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut random = Random::new(5);
    for _ in 0..1_000 {
        let system = random_system(&mut random);
        assert_eq!(system.to_string().parse(), Ok(system.clone()), "{system}");
        let written = bytes(&system);
        assert!(written.len() <= SYSTEM_BYTES_MAX);
        assert_eq!(QuorumSystem::decode(&written), Ok(system));
    }
}

#[test]
fn texts_are_as_they_are_documented() {
    let same = |text: &str, system: Result<QuorumSystem, QuorumError>| {
        let system = system.expect("a system");
        assert_eq!(text.parse(), Ok(system.clone()), "{text}");
        assert_eq!(system.to_string(), text);
    };
    same("majority of [1, 2, 3]", QuorumSystem::majority(first(3)));
    same("all of [1]", QuorumSystem::majority(first(1)));
    same("prepare 4 of [1, 2, 3, 4, 5] accept 2 of [1, 2, 3, 4, 5]", QuorumSystem::flexible(first(5), 4, 2));
    same("prepare all of [1, 2, 3] accept any of [1, 2, 3]", QuorumSystem::flexible(first(3), 3, 1));
    same("majority of [2, 3, 2 * 1]", QuorumSystem::weighted([(NodeId(1), 2), (NodeId(2), 1), (NodeId(3), 1)]));
    same(
        "prepare any of [all of [1, 2], all of [3, 4]] accept any of [all of [1, 3], all of [2, 4]]",
        QuorumSystem::grid(lists(&[&[1, 2], &[3, 4]])),
    );
    same(
        "majority of [majority of [1, 2, 3], majority of [4, 5, 6], majority of [7, 8, 9]]",
        QuorumSystem::zones(2, lists(&[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]])),
    );
    let spaced = " 2 of[1,2 ,\n3 ] ".parse();
    assert_eq!(spaced, QuorumSystem::majority(first(3)).map_err(QuorumTextError::System));
    let shuffled = "2 of [3, 1, 2]".parse();
    assert_eq!(shuffled, QuorumSystem::majority(first(3)).map_err(QuorumTextError::System), "order has no meaning");
}

#[test]
fn errors_of_texts_name_the_place() {
    let deep = "any of [".repeat(RULE_DEPTH_MAX + 1);
    let long = format!("any of [{}]", "any of [1], ".repeat(RULE_TERMS_MAX));
    let many = format!("any of [{}]", (0..=ACCEPTORS_MAX).map(|node| node.to_string()).collect::<Vec<_>>().join(", "));
    let known = [
        ("", "at byte 0: the text ends, expected a number, `any`, `majority` or `all`"),
        ("2 fo [1, 2]", "at byte 2: found \"fo\", expected the end"),
        ("most of [1, 2]", "at byte 0: found \"most\", expected a number, `any`, `majority` or `all`"),
        ("majority [1, 2]", "at byte 9: found \"[\", expected `of`"),
        ("2 of 1, 2", "at byte 5: found \"1\", expected `[`"),
        ("2 of [1, 2", "at byte 10: the text ends, expected `,` or `]`"),
        ("2 of [1 2]", "at byte 8: found \"2\", expected `,` or `]`"),
        ("2 of [1, 2]]", "at byte 11: found \"]\", expected the end"),
        ("2 of [1, -2]", "at byte 9: found \"-\", expected a number, `any`, `majority` or `all`"),
        ("2 of [1, 2x]", "at byte 9: found \"2x\", expected the number of a node"),
        ("2 of [1, 18446744073709551616]", "at byte 9: found \"18446744073709551616\", expected the number of a node"),
        ("1 of [65536 * 1, 2]", "at byte 6: found \"65536\", expected a weight up to 65535"),
        ("3 of [1, 2]", "at byte 0: a rule needs nothing, or more than there is"),
        ("2 of [1, 0 of [2, 3]]", "at byte 9: a rule needs nothing, or more than there is"),
        ("2 of [1, 2, 1]", "at byte 12: node 1 is named twice in one list"),
        ("2 of [1, 0 * 2]", "at byte 9: a weight of 0"),
        ("2 of []", "at byte 6: found \"]\", expected a number, `any`, `majority` or `all`"),
        ("prepare 2 of [1, 2]", "at byte 19: the text ends, expected `accept`"),
        ("1 of [1, 2]", "quorum [1] of the first phase and [2] of the second have no node in common"),
        ("ééé", "at byte 0: found \"ééé\", expected a number, `any`, `majority` or `all`"),
        (&deep, "at byte 64: rules nested more than 8 deep"),
        (&long, "at byte 1540: rules of more than 256 terms"),
        (&many, "at byte 254: more than 64 acceptors"),
    ];
    for (text, error) in known {
        let found = text.parse::<QuorumSystem>().expect_err(text);
        assert_eq!(found.to_string(), error);
    }
}

#[test]
fn any_text_is_read_or_refused() {
    let words = ["of", "[", "]", ",", "*", "1", "2", "3", "any", "all", "majority", "prepare", "accept", "é", " "];
    let mut random = Random::new(6);
    for _ in 0..20_000 {
        let word = |random: &mut Random| words[usize::try_from(random.between(0, words.len() as u64)).expect("few")];
        let text: String = (0..random.between(0, 14)).map(|_| word(&mut random)).collect();
        if let Ok(system) = text.parse::<QuorumSystem>() {
            assert_eq!(system.to_string().parse(), Ok(system));
        }
    }
}

/// Golden bytes: state records and configurations have them.
#[test]
fn bytes_are_those_of_the_release() {
    let golden = [
        (
            "majority of [1, 2, 3]",
            "01 01 03 0100000000000000 0200000000000000 0300000000000000 ff 02000000 03 0100 00 0100 01 0100 02",
        ),
        (
            "prepare all of [1, 2] accept any of [1, 2]",
            "01 02 02 0100000000000000 0200000000000000 ff 02000000 02 0100 00 0100 01 ff 01000000 02 0100 00 0100 01",
        ),
        (
            "2 of [7, 3 * all of [8]]",
            "01 01 02 0700000000000000 0800000000000000 ff 02000000 02 0100 00 0300 ff 01000000 01 0100 01",
        ),
        ("7", "01 01 01 0700000000000000 00"),
    ];
    for (text, golden) in golden {
        let system: QuorumSystem = text.parse().expect(text);
        let golden: String = golden.split_whitespace().collect();
        assert_eq!(hex(&bytes(&system)), golden, "{text}");
    }
}

#[test]
fn other_bytes_are_refused() {
    assert_eq!(QuorumSystem::decode(&[]), Err(StateError::Malformed));
    assert_eq!(QuorumSystem::decode(&[2, 1, 1]), Err(StateError::Version(2)));
    let mut random = Random::new(7);
    let mut changed_is_read = 0;
    for turn in 0..200 {
        let system =
            if turn == 0 { QuorumSystem::majority(first(64)).expect("distinct") } else { random_system(&mut random) };
        let written = bytes(&system);
        for length in 0..written.len() {
            assert!(QuorumSystem::decode(&written[..length]).is_err(), "{system}: {length} bytes");
        }
        assert!(QuorumSystem::decode(&[&written[..], &[0]].concat()).is_err());
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1 << random.between(0, 8);
            // A changed system is another system, written as it would be.
            if let Ok(read) = QuorumSystem::decode(&changed) {
                assert!(read != system && bytes(&read) == changed);
                changed_is_read += 1;
            }
        }
    }
    assert!(changed_is_read > 100, "{changed_is_read}");
}

#[test]
fn systems_that_do_not_meet_are_not_decoded() {
    let written = bytes(&QuorumSystem::flexible(first(3), 3, 1).expect("they meet"));
    let mut changed = written.clone();
    // The first phase needs two.
    changed[28] = 2;
    assert_eq!(written[28], 3);
    assert_eq!(QuorumSystem::decode(&changed), Err(StateError::Malformed));
}

#[test]
fn bounds_are_kept_by_every_way_in() {
    let mut deep = QuorumRule::from(NodeId(1));
    for _ in 0..RULE_DEPTH_MAX {
        deep = QuorumRule::any_of([deep]);
    }
    assert!(QuorumSystem::symmetric(deep.clone()).is_ok());
    assert_eq!(QuorumSystem::symmetric(QuorumRule::any_of([deep])), Err(QuorumError::TooDeep));
    let pairs = |count: u64| QuorumRule::all_of((0..count).map(|at| QuorumRule::any_of([NodeId(at % 64)])));
    assert!(QuorumSystem::symmetric(pairs(RULE_TERMS_MAX as u64 / 2 - 1)).is_ok());
    assert_eq!(QuorumSystem::symmetric(pairs(RULE_TERMS_MAX as u64 / 2)), Err(QuorumError::TooLong));
    let endless = QuorumRule::majority_of((0..).map(NodeId));
    assert_eq!(QuorumSystem::symmetric(endless), Err(QuorumError::TooLong));
    // The largest system: as many lists as there may be.
    let chain =
        |node: u64| (1..RULE_DEPTH_MAX).fold(QuorumRule::from(NodeId(node)), |rule, _| QuorumRule::all_of([rule]));
    let largest = QuorumSystem::symmetric(QuorumRule::all_of((0..31).map(chain))).expect("it is within the bounds");
    let written = bytes(&largest);
    assert!(written.len() <= SYSTEM_BYTES_MAX && QuorumSystem::decode(&written) == Ok(largest), "{}", written.len());
}
