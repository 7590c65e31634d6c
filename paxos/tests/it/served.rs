//! A decision on a real server: a node alone, on a port of the system's choice.

use std::time::Duration;

use quorate_paxos::runtime::{GroupId, Running, Server};
use quorate_paxos::synod::{CommandRefusal, Proposal, ProposalOutcome, ReadOutcome, Settings, SynodHandle, host};

const GROUP: GroupId = GroupId(1);

fn serve(data: &std::path::Path) -> Running {
    let server = Server::builder("test", data).node(1, "127.0.0.1:0");
    server.group(GROUP, |start| host(start, Settings::default())).spawn(1).expect("it opens")
}

#[test]
fn callers_learn_the_decision_from_any_thread() {
    let data = tempfile::tempdir().expect("a folder");
    let server = serve(data.path());
    let decision = SynodHandle::new(server.handle().clone(), GROUP);
    assert_eq!(decision.read().wait(), ReadOutcome::NoneYet);
    let decided = decision.decided();
    // Nobody waits for this answer. The proposal goes on.
    drop(decision.propose("mine"));
    let chosen = decided.wait().expect("it is decided");
    assert_eq!(chosen.value, "mine");
    let Proposal { id, .. } = chosen;
    assert_ne!(decision.draw_id().wait(), Ok(id));
    let outcome = decision.propose("another").wait();
    assert_eq!(outcome, ProposalOutcome::Superseded { chosen: chosen.clone() });
    assert_eq!(decision.propose_again(chosen.clone()).wait(), ProposalOutcome::Chosen);
    assert_eq!(decision.status().wait().map(|status| status.chosen), Ok(Some(chosen.clone())));
    assert_eq!(decision.explain().wait(), Ok(vec![]));

    let other = SynodHandle::new(server.handle().clone(), GroupId(2));
    let refused = CommandRefusal::NoGroup;
    assert_eq!(other.propose("mine").wait(), ProposalOutcome::NotTried(refused));
    assert_eq!(other.read().wait(), ReadOutcome::Failed(refused));
    assert_eq!(other.decided().wait(), Err(refused));

    server.shutdown(Duration::from_mins(1));
    let refused = CommandRefusal::Stopped;
    assert_eq!(decision.propose("mine").wait(), ProposalOutcome::NotTried(refused));
    assert_eq!(decision.read().wait(), ReadOutcome::Failed(refused));
    assert_eq!((decision.decided().wait(), decision.draw_id().wait()), (Err(refused), Err(refused)));

    let server = serve(data.path());
    let decision = SynodHandle::new(server.handle().clone(), GROUP);
    assert_eq!(decision.decided().wait(), Ok(chosen), "it is there after a restart");
    server.shutdown(Duration::from_mins(1));
}

/// A shutdown ends the wait of callers who could wait for ever.
#[test]
fn a_shutdown_ends_every_wait() {
    let data = tempfile::tempdir().expect("a folder");
    let server = serve(data.path());
    let decision = SynodHandle::new(server.handle().clone(), GROUP);
    let waits: Vec<_> = (0..10).map(|_| decision.decided()).collect();
    server.shutdown(Duration::from_mins(1));
    for decided in waits {
        assert_eq!(decided.wait(), Err(CommandRefusal::ShuttingDown));
    }
}
