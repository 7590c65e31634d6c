use super::plan::{Step, View};
use super::request::{MemberAnswer, MemberRequest, NewNode};
use super::{MemberCommand, MemberStatus, PeerStatus};
use crate::status::GroupStatus;
use quorate_protocol::{ConfigurationError, NodeId, RefuseReason};
use quorate_runtime::{NotApplied, Outcome, Unknown};

fn voter(node: u64) -> MemberStatus {
    let address = format!("node-{node}");
    MemberStatus {
        node,
        role: "voter".to_owned(),
        address,
        incarnation: None,
        waits_for_promotion: false,
        replaces: None,
    }
}

fn learner(node: u64) -> MemberStatus {
    MemberStatus { role: "learner".to_owned(), ..voter(node) }
}

/// A learner on disk `d4` that becomes a voter.
fn newcomer(node: u64, replaces: Option<u64>) -> MemberStatus {
    MemberStatus { waits_for_promotion: true, incarnation: Some("d4".to_owned()), replaces, ..learner(node) }
}

fn group(members: Vec<MemberStatus>) -> GroupStatus {
    let json = r#"{"group":0,"founding":"1f","founded_with":[1,2,3],"role":"leader","leader":1,"term":3,"first_index":1,
        "last_index":90,"commit_index":90,"applied_index":90,"snapshot_index":0,"caught_up_by_log":0,
        "caught_up_by_snapshot":0,"peers_caught_up_by_log":0,"peers_caught_up_by_snapshot":0,"digest":"2a","keys":2,
        "bytes":20,"trouble":""}"#;
    let before: GroupStatus = serde_json::from_str(json).expect("what nodes said before members could change");
    let progress = vec![PeerStatus { node: 4, match_index: 50, is_active: true, snapshot: None }];
    GroupStatus { members, is_settled: true, progress, ..before }
}

/// The next step, if node 4 runs on disk `d4` and a learner has caught up with this entry.
fn step_to(command: MemberCommand, group: &GroupStatus, goal: u64) -> Step {
    let node = GroupStatus {
        incarnation: "d4".to_owned(),
        vote: "it is no member of the group yet".to_owned(),
        ..self::group(Vec::new())
    };
    command.step(View { group, node: Some(&node), address: "there", goal })
}

fn step(command: MemberCommand, members: Vec<MemberStatus>) -> Step {
    step_to(command, &group(members), 51)
}

fn new_node() -> NewNode {
    NewNode { id: 4, address: "there".to_owned(), incarnation: "d4".to_owned() }
}

fn asks(request: MemberRequest) -> Step {
    Step::Ask(request)
}

fn is_done(step: &Step) -> bool {
    matches!(step, Step::Done(_))
}

fn is_refused(step: &Step) -> bool {
    matches!(step, Step::Refuse(_))
}

const REPLACE: MemberCommand = MemberCommand::Replace { old: 2, new: 4 };

#[test]
fn a_command_asks_and_waits_and_ends() {
    let add = MemberCommand::Add(4);
    assert_eq!(step(add, vec![voter(1)]), asks(MemberRequest::Add { node: new_node(), learner: false }));
    assert_eq!(step(add, vec![voter(1), newcomer(4, None)]), Step::WaitFor(4));
    assert!(is_done(&step(add, vec![voter(1), voter(4)])));
    assert_eq!(step(REPLACE, vec![voter(1), voter(2)]), asks(MemberRequest::Replace { old: 2, new: new_node() }));
    assert_eq!(step(REPLACE, vec![voter(1), voter(2), newcomer(4, Some(2))]), Step::WaitFor(4));
    assert!(is_done(&step(REPLACE, vec![voter(1), voter(4)])));
    let promote = MemberCommand::Promote(4);
    assert_eq!(step(promote, vec![voter(1), learner(4)]), asks(MemberRequest::Promote(4)));
    assert_eq!(step(promote, vec![voter(1), newcomer(4, None)]), Step::WaitFor(4));
    assert!(is_done(&step(promote, vec![voter(1), voter(4)])));
    let demote = MemberCommand::Demote(4);
    assert_eq!(step(demote, vec![voter(1), voter(4)]), asks(MemberRequest::Demote(4)));
    assert!(is_done(&step(demote, vec![voter(1), learner(4)])));
    let remove = MemberCommand::Remove(4);
    assert_eq!(step(remove, vec![voter(1), voter(4)]), asks(MemberRequest::Remove(4)));
    assert!(is_done(&step(remove, vec![voter(1)])));
}

#[test]
fn a_change_that_is_not_committed_is_not_done() {
    let mut group = group(vec![voter(1), voter(4)]);
    group.is_settled = false;
    assert_eq!(step_to(MemberCommand::Add(4), &group, 0), Step::Settle);
    assert_eq!(step_to(MemberCommand::Remove(3), &group, 0), Step::Settle);
}

#[test]
fn a_learner_is_there_once_it_has_what_there_was() {
    let add = MemberCommand::AddLearner(4);
    assert_eq!(step(add, vec![voter(1)]), asks(MemberRequest::Add { node: new_node(), learner: true }));
    let group = group(vec![voter(1), learner(4)]);
    assert_eq!(step_to(add, &group, 51), Step::WaitFor(4), "it has 50");
    assert!(is_done(&step_to(add, &group, 50)));
}

#[test]
fn a_disk_is_replaced_once_and_only_if_it_does_not_count() {
    let replace = MemberCommand::Replace { old: 4, new: 4 };
    assert_eq!(step(replace, vec![voter(1), voter(4)]), asks(MemberRequest::Replace { old: 4, new: new_node() }));
    assert_eq!(step(replace, vec![voter(1), newcomer(4, None)]), Step::WaitFor(4));
    let admitted = MemberStatus { incarnation: Some("d4".to_owned()), ..voter(4) };
    assert!(is_done(&step(replace, vec![voter(1), admitted])));
    let votes = GroupStatus { incarnation: "d4".to_owned(), ..group(Vec::new()) };
    let group = group(vec![voter(1), voter(4)]);
    let view = View { group: &group, node: Some(&votes), address: "there", goal: 0 };
    assert!(is_refused(&replace.step(view)), "its disk is not lost");
    assert_eq!(replace.step(View { node: None, ..view }), Step::AskNode(4));
    assert_eq!(MemberCommand::Add(5).step(View { node: None, ..view }), Step::AskNode(5));
}

#[test]
fn commands_that_do_not_fit_the_members_are_refused() {
    use MemberCommand::{Add, AddLearner, Demote, Promote, Replace};
    let of_other_disk = MemberStatus { incarnation: Some("d9".to_owned()), ..newcomer(4, None) };
    let cases = [
        (Add(4), vec![voter(1), learner(4)], "`promote 4`"),
        (Add(4), vec![voter(1), of_other_disk], "another disk"),
        (AddLearner(4), vec![voter(1), voter(4)], "`demote 4`"),
        (AddLearner(4), vec![voter(1), newcomer(4, None)], "`demote 4`"),
        (Promote(4), vec![voter(1)], "node 4 is not a member"),
        (Demote(4), vec![voter(1)], "node 4 is not a member"),
        (Demote(4), vec![voter(1), newcomer(4, None)], "`remove 4`"),
        (REPLACE, vec![voter(1)], "node 2 is not a member"),
        (REPLACE, vec![voter(1), learner(4)], "node 2 is not a member"),
        (REPLACE, vec![voter(1), voter(2), voter(4)], "`remove 2`"),
        (REPLACE, vec![voter(1), voter(2), newcomer(4, Some(3))], "not in place of node 2"),
        (Replace { old: 4, new: 4 }, vec![voter(1)], "node 4 is not a member"),
    ];
    for (command, members, expected) in cases {
        let Step::Refuse(reason) = step(command, members) else { panic!("{command:?} is not refused") };
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
}

#[test]
fn answers_say_if_something_was_changed() {
    let refused = |reason| MemberAnswer::of(Outcome::NotApplied(NotApplied::Refused { reason, leader: None }));
    assert_eq!(refused(RefuseReason::NotLeader), MemberAnswer::NotLeader);
    assert!(matches!(refused(RefuseReason::ConfigurationPending), MemberAnswer::NotNow { .. }));
    assert!(matches!(refused(RefuseReason::QuorumSilent), MemberAnswer::NotNow { .. }));
    let invalid = refused(RefuseReason::ConfigurationInvalid(ConfigurationError::NotMember(NodeId(4))));
    assert_eq!(invalid, MemberAnswer::Refused { reason: "node 4 is not a member".to_owned() });
    let unknown = MemberAnswer::of(Outcome::Unknown { reason: Unknown::DeadlinePassed, retry: None });
    assert!(matches!(unknown, MemberAnswer::Unknown { .. }));
    assert_eq!(MemberAnswer::of(Outcome::Applied("".into())), MemberAnswer::Applied);
}

#[test]
fn a_malformed_disk_is_refused() {
    let new = NewNode { incarnation: "no disk".to_owned(), ..new_node() };
    assert!(MemberRequest::Replace { old: 4, new }.into_change().unwrap_err().contains("no disk"));
}
