use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{Configuration, ConfigurationError, Member, MemberRole, NodeId, Promotion, SnapshotMeta};

use crate::golden::{configuration, newer_configuration};

#[test]
fn refuses_what_could_not_decide() {
    let learner = Member::learner(NodeId(1));
    assert_eq!(Configuration::new(vec![learner.clone()]), Err(ConfigurationError::NoVoter));
    assert_eq!(Configuration::new(Vec::new()), Err(ConfigurationError::NoVoter));
    let voter = Member { role: MemberRole::Voter, ..learner };
    let twice = Configuration::new(vec![voter.clone(), voter.clone()]);
    assert_eq!(twice, Err(ConfigurationError::Repeated(NodeId(1))));
    let context = Bytes::from(vec![0; 65_536]);
    assert_eq!(Configuration::new(vec![Member { context, ..voter.clone() }]), Err(ConfigurationError::TooLarge));
    let witness = Member { node: NodeId(2), role: MemberRole::Witness, ..voter.clone() };
    let second = Member { node: NodeId(3), ..witness.clone() };
    assert!(Configuration::new(vec![voter.clone(), witness.clone()]).is_ok());
    let witnesses = Configuration::new(vec![voter.clone(), witness, second]);
    assert_eq!(witnesses, Err(ConfigurationError::TooManyWitnesses));
    let promotion = Some(Promotion::default());
    let promoted = Configuration::new(vec![Member { promotion, ..voter }]);
    assert_eq!(promoted, Err(ConfigurationError::NotLearner(NodeId(1))));
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
    for bytes in [configuration().encode(), newer_configuration().encode()] {
        for length in 0..bytes.len() {
            assert!(Configuration::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(Configuration::decode(&[&bytes[..], b"x"].concat()), Err(ConfigurationError::Malformed));
    }
    assert_eq!(Configuration::decode(&[3]), Err(ConfigurationError::Version(3)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Configuration::decode(&bytes);
        let _ = SnapshotMeta::decode(&bytes);
    }
}
