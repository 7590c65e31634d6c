use super::*;

fn records() -> Vec<Record> {
    let number = TransactionNumber { epoch: Epoch(3), sequence: 500 };
    let transaction = TransactionId { coordinator: CoordinatorId(1), number };
    let nodes: BTreeSet<NodeId> = [NodeId(2), NodeId(3)].into();
    let payload = Bytes::from_static(b"pay");
    let finished_below = TransactionNumber { epoch: Epoch(3), sequence: 7 };
    let (coordinator, epoch, server) = (CoordinatorId(4), Epoch(3), Some(NodeId(5)));
    let known = KnownRecord { coordinator, epoch, server, finished_below, is_forgotten: false };
    let forced = Record::Forced {
        transaction,
        decision: Decision::Abort,
        participants: nodes.clone(),
        payload: payload.clone(),
    };
    let participants = nodes.clone();
    let heuristic = |decision| Record::Heuristic {
        transaction,
        forced: Decision::Commit,
        decision,
        participants: participants.clone(),
    };
    vec![
        Record::Commit { number, writers: nodes.clone() },
        Record::Ended { number, writers: nodes.clone() },
        Record::Delegated { number, participant: NodeId(2), payload: payload.clone() },
        Record::Prepared { transaction, participants: nodes, payload },
        Record::Settled { transaction, end: BranchEnd::Decided(Decision::Commit) },
        Record::Settled { transaction, end: BranchEnd::Decided(Decision::Abort) },
        Record::Settled { transaction, end: BranchEnd::Abandoned },
        Record::Known(known),
        Record::Known(KnownRecord { is_forgotten: true, ..known }),
        Record::Known(KnownRecord { server: None, is_forgotten: true, ..known }),
        Record::Unfinished { coordinator, until: number, unfinished: [finished_below].into() },
        Record::GivenUp { node: NodeId(4) },
        Record::Settled { transaction, end: BranchEnd::Heuristic(Decision::Commit) },
        Record::Settled { transaction, end: BranchEnd::Heuristic(Decision::Abort) },
        forced,
        heuristic(None),
        heuristic(Some(Decision::Abort)),
        Record::Mixed {
            number,
            decision: Decision::Commit,
            deviations: [(NodeId(2), Deviation::Aborted), (NodeId(3), Deviation::Lost)].into(),
        },
    ]
}

#[test]
fn records_are_read_as_they_were_written_and_not_in_part() {
    for record in records() {
        let bytes = record.encode();
        assert_eq!(Record::decode(bytes.clone()), Ok(record.clone()));
        // A list of numbers may end after any of them.
        let has_payload = matches!(
            record,
            Record::Delegated { .. } | Record::Prepared { .. } | Record::Unfinished { .. } | Record::Forced { .. }
        );
        for length in 0..bytes.len() {
            let part = Record::decode(bytes.slice(..length));
            assert!(part != Ok(record.clone()), "{length} bytes are not the record");
            assert!(part.is_err() || has_payload, "only a payload may end anywhere");
        }
        if !has_payload {
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Record::decode(longer.into()), Err(StateError::Malformed));
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(Record::decode(newer.into()), Err(StateError::Version(2)));
    }
}

#[test]
fn an_unknown_kind_of_record_or_end_is_named() {
    assert_eq!(Record::decode(Bytes::from_static(&[VERSION, 200])), Err(StateError::Kind(200)));
    let settled = Record::Settled { transaction: TransactionId::default(), end: BranchEnd::Abandoned }.encode();
    let newer = [&settled[..settled.len() - 1], &[99]].concat();
    assert_eq!(Record::decode(newer.into()), Err(StateError::Kind(99)));
    assert_eq!(Record::decode(Bytes::from_static(&[VERSION])), Err(StateError::Malformed));
}

#[test]
fn the_state_is_read_as_it_was_written_and_not_in_part() {
    let forgotten_below = TransactionNumber { epoch: Epoch(2), sequence: 9 };
    let state = DurableState { epoch: Epoch(4), forgotten_below };
    let bytes = encode_state(&state);
    assert_eq!(bytes.len(), STATE_BYTES);
    assert_eq!(decode_state(bytes.clone()), Ok(state));
    for length in 0..bytes.len() {
        assert_eq!(decode_state(bytes.slice(..length)), Err(StateError::Malformed));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode_state(longer.into()), Err(StateError::Malformed));
}
