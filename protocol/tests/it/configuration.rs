use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{Configuration, ConfigurationError, Member, MemberRole, NodeId, SnapshotMeta};

use crate::golden::configuration;

#[test]
fn refuses_what_could_not_decide() {
    let learner = Member { node: NodeId(1), role: MemberRole::Learner, priority: 1, context: Bytes::new() };
    assert_eq!(Configuration::new(vec![learner.clone()]), Err(ConfigurationError::NoVoter));
    assert_eq!(Configuration::new(Vec::new()), Err(ConfigurationError::NoVoter));
    let voter = Member { role: MemberRole::Voter, ..learner };
    let twice = Configuration::new(vec![voter.clone(), voter.clone()]);
    assert_eq!(twice, Err(ConfigurationError::Repeated(NodeId(1))));
    let context = Bytes::from(vec![0; 65_536]);
    assert_eq!(Configuration::new(vec![Member { context, ..voter }]), Err(ConfigurationError::TooLarge));
}

#[test]
fn counts_voters_and_witnesses_of_both_sets() {
    let configuration = configuration();
    let votes: Vec<bool> = (1..=5).map(|node| configuration.is_voter(NodeId(node))).collect();
    assert_eq!(votes, [true, false, true, true, false]);
    assert!(configuration.is_joint());
    assert_eq!(configuration.nodes().count(), 4);
    assert!(configuration.contains(NodeId(2)) && !configuration.contains(NodeId(5)));
}

#[test]
fn every_shortened_encoding_is_refused() {
    let bytes = configuration().encode();
    for length in 0..bytes.len() {
        assert!(Configuration::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(Configuration::decode(&[&bytes[..], b"x"].concat()), Err(ConfigurationError::Malformed));
    assert_eq!(Configuration::decode(&[2]), Err(ConfigurationError::Version(2)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Configuration::decode(&bytes);
        let _ = SnapshotMeta::decode(&bytes);
    }
}
