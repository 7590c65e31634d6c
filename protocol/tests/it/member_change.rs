use bytes::Bytes;
use quorate_protocol::{
    Configuration, ConfigurationError, Incarnation, Member, MemberChange, MemberRole, NodeId, Promotion,
};

fn three() -> Configuration {
    Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)])
}

fn changed(changes: &[MemberChange]) -> Configuration {
    three().changed(changes).expect("it can be made")
}

#[test]
fn a_voter_that_is_added_learns_first() {
    let added = changed(&[MemberChange::Add(Member::voter(NodeId(4)))]);
    let member = added.member(NodeId(4)).expect("it is there");
    assert_eq!((member.role, member.promotion), (MemberRole::Learner, Some(Promotion { replaces: None })));
    let promoted = added.promoted(&[NodeId(4)]).expect("valid");
    assert_eq!(promoted, Configuration::of_voters((1..=4).map(NodeId)));
}

#[test]
fn a_learner_that_is_added_stays_one() {
    let added = changed(&[MemberChange::Add(Member::learner(NodeId(4)))]);
    assert_eq!(added.member(NodeId(4)), Some(&Member::learner(NodeId(4))));
    let waiting = added.changed(&[MemberChange::Promote(NodeId(4))]).expect("a learner");
    assert!(waiting.member(NodeId(4)).is_some_and(|member| member.promotion.is_some()));
}

#[test]
fn a_replacement_takes_the_place_when_it_is_promoted() {
    let changes = [
        MemberChange::Replace { old: NodeId(1), new: Member::voter(NodeId(4)) },
        MemberChange::Replace { old: NodeId(2), new: Member::voter(NodeId(5)) },
    ];
    let waiting = changed(&changes);
    assert!(waiting.voters().eq([NodeId(1), NodeId(2), NodeId(3)]));
    let one = waiting.promoted(&[NodeId(5)]).expect("valid");
    assert!(one.voters().eq([NodeId(1), NodeId(3), NodeId(5)]) && one.contains(NodeId(4)));
    assert!(one.promoted(&[NodeId(4)]).expect("valid").voters().eq([NodeId(3), NodeId(4), NodeId(5)]));
}

#[test]
fn another_disk_under_an_id_must_be_named() {
    let same = Member::voter(NodeId(3));
    let unnamed = MemberChange::Replace { old: NodeId(3), new: same.clone() };
    assert_eq!(three().changed(&[unnamed]), Err(ConfigurationError::IncarnationUnknown(NodeId(3))));
    let incarnation = Some(Incarnation(7));
    let named = MemberChange::Replace { old: NodeId(3), new: Member { incarnation, ..same } };
    let waiting = changed(std::slice::from_ref(&named));
    assert!(waiting.voters().eq([NodeId(1), NodeId(2)]), "the old disk votes no more");
    assert_eq!(waiting.member(NodeId(3)).and_then(|member| member.incarnation), incarnation);
    assert_eq!(waiting.changed(&[named]), Err(ConfigurationError::AlreadyMember(NodeId(3))));
}

#[test]
fn changes_are_made_in_their_order_or_not_at_all() {
    let swap = [MemberChange::Remove(NodeId(3)), MemberChange::Add(Member::learner(NodeId(3)))];
    assert_eq!(changed(&swap).member(NodeId(3)), Some(&Member::learner(NodeId(3))));
    let twice = [MemberChange::Remove(NodeId(3)), MemberChange::Remove(NodeId(3))];
    assert_eq!(three().changed(&twice), Err(ConfigurationError::NotMember(NodeId(3))));
}

#[test]
fn a_group_must_keep_a_voter_that_may_lead() {
    let everybody: Vec<MemberChange> = (1..=3).map(|node| MemberChange::Demote(NodeId(node))).collect();
    assert_eq!(three().changed(&everybody), Err(ConfigurationError::NoVoter));
    let update = |node| MemberChange::Update { node: NodeId(node), priority: Some(0), context: None };
    let nobody: Vec<MemberChange> = (1..=3).map(update).collect();
    assert_eq!(three().changed(&nobody), Err(ConfigurationError::NoCandidate));
    assert_eq!(changed(&nobody[..2]).member(NodeId(2)).map(|member| member.priority), Some(0));
}

#[test]
fn a_member_that_moves_keeps_the_rest() {
    let context = Some(Bytes::from_static(b"b:2"));
    let moved = changed(&[MemberChange::Update { node: NodeId(2), priority: None, context }]);
    let expected = Member { context: Bytes::from_static(b"b:2"), ..Member::voter(NodeId(2)) };
    assert_eq!(moved.member(NodeId(2)), Some(&expected));
}
