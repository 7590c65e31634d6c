//! A bound group on servers with real files and sockets, as its handles reach it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId};
use quorate_raft::Raft;
use quorate_runtime::bound::{BoundLog, BoundSettings};
use quorate_runtime::group::ChannelId;
use quorate_runtime::hosted::{HostedHandle, NotServed, Told};
use quorate_runtime::{GroupStart, Launch, ReplicaHandle, Running, Server};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Config, Event, Knowledge, OnePhase, Request, Settings, TransactionId, TwoPhaseCommit,
    Vote,
};
use tempfile::TempDir;

const GROUP: GroupId = GroupId(3);
const CHANNEL: ChannelId = ChannelId(18);
const GROUP_AS_NODE: NodeId = NodeId(1_000);

/// A database that outlives every node.
#[derive(Default)]
struct Database {
    prepared: BTreeSet<TransactionId>,
    committed: BTreeSet<TransactionId>,
    /// It does not answer when it is asked to commit, as if the connection hung.
    hangs: bool,
}

struct Place {
    data: TempDir,
    addresses: [String; 3],
    database: Arc<Mutex<Database>>,
    tell: Sender<(u64, Event)>,
    told: Receiver<(u64, Event)>,
}

/// A node and its application.
struct Member {
    id: u64,
    node: Running,
    core: HostedHandle<TwoPhaseCommit>,
    application: JoinHandle<()>,
}

impl Place {
    fn new() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners = [free(), free(), free()];
        let addresses = listeners.map(|listener| listener.local_addr().expect("bound").to_string());
        let (tell, told) = mpsc::channel();
        let data = tempfile::tempdir().expect("a directory");
        Self { data, addresses, database: Arc::default(), tell, told }
    }

    fn start(&self, id: u64) -> Member {
        let settings = BoundSettings { served_as: Some(GROUP_AS_NODE), ..BoundSettings::default() };
        let config = |start: &GroupStart| {
            let (write_bytes_max, frame_bytes_max) = (start.write_bytes_max, start.frame_bytes_max);
            let settings =
                Settings { one_phase: OnePhase::Never, write_bytes_max, frame_bytes_max, ..Settings::default() };
            Ok(Config::new(start.identity.node, start.seed, settings)?)
        };
        let log = quorate_wal::LogSettings {
            segment_bytes: 16 << 20,
            batch_bytes_max: 9 << 20,
            ..quorate_wal::LogSettings::default()
        };
        let builder = Server::builder("test", self.data.path()).log(log);
        let builder =
            builder.bound_with::<Raft, TwoPhaseCommit>(GROUP, settings, <Raft as Launch>::config, CHANNEL, config);
        let builder = (1..).zip(&self.addresses).fold(builder, |builder, (id, address)| builder.node(id, address));
        let node = builder.spawn(id).expect("it opens");
        let core = HostedHandle::new(node.handle().clone(), GROUP);
        let (database, tell, heard) = (self.database.clone(), self.tell.clone(), core.clone());
        let application = thread::spawn(move || apply(id, &heard, &database, &tell));
        Member { id, node, core, application }
    }

    /// Waits for an event.
    fn wait<T>(&self, find: impl Fn(u64, &Event) -> Option<T>) -> T {
        loop {
            let (node, event) = self.told.recv_timeout(Duration::from_mins(1)).expect("an event within a minute");
            if let Some(found) = find(node, &event) {
                return found;
            }
        }
    }
}

/// Carries out requests and passes events on, until the node stops.
fn apply(id: u64, core: &HostedHandle<TwoPhaseCommit>, database: &Mutex<Database>, tell: &Sender<(u64, Event)>) {
    let mut up_to = 0;
    while let Ok(heard) = core.listen(up_to).wait() {
        up_to = heard.up_to;
        for told in heard.told {
            match told {
                Told::Event(event) => drop(tell.send((id, event))),
                Told::Request { ticket, request } => {
                    if let Some(answer) = carry_out(&request, &mut database.lock().expect("no panic holds it")) {
                        // The core may be gone by now. Its successor asks again.
                        let _ = core.complete(ticket, answer).wait();
                    }
                }
                Told::Lost(_) => panic!("it listens"),
                Told::Serving | Told::NotServing { .. } => {}
            }
        }
    }
}

fn carry_out(request: &Request, database: &mut Database) -> Option<Answer> {
    match request {
        Request::Prepare { transaction, .. } => {
            database.prepared.insert(*transaction);
            Some(Answer::Voted(Vote::Yes))
        }
        Request::Recover { .. } => Some(Answer::Done),
        Request::Commit { .. } if database.hangs => None,
        Request::Commit { transaction } => {
            if database.prepared.remove(transaction) {
                database.committed.insert(*transaction);
            }
            Some(Answer::Done)
        }
        Request::Abort { transaction } => {
            database.prepared.remove(transaction);
            Some(Answer::Done)
        }
        Request::CommitOnePhase { .. } => panic!("it is switched off"),
    }
}

impl Member {
    fn stop(self) -> u64 {
        self.node.shutdown(Duration::from_secs(2));
        self.application.join().expect("it ends with its node");
        self.id
    }
}

/// Gives the command to the node that serves, whichever that is, and returns its place.
fn command(members: &[Member], command: &Command) -> usize {
    loop {
        for (place, member) in members.iter().enumerate() {
            match member.core.command(command.clone()).wait() {
                Ok(()) => return place,
                Err(NotServed::Elsewhere { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        thread::yield_now();
    }
}

/// Begins a transaction and asks for its commit. A core may be gone before it answers, and refuses until it is
/// introduced.
fn commit(place: &Place, members: &[Member], number: u64) -> TransactionId {
    let begun = loop {
        command(members, &Command::Begin { command: CommandId(number) });
        let begun = place.wait(|_, event| match event {
            Event::Begun { transaction, .. } => Some(Some(*transaction)),
            Event::Refused { .. } => Some(None),
            _ => None,
        });
        if let Some(transaction) = begun {
            break transaction;
        }
    };
    let branches = [(GROUP_AS_NODE, Bytes::from_static(b"x"))].into();
    command(members, &Command::Commit { command: CommandId(number), transaction: begun, branches });
    begun
}

#[test]
fn a_stopped_coordinator_is_continued_by_another_server() {
    let place = Place::new();
    let mut members: Vec<Member> = (1..=3).map(|id| place.start(id)).collect();
    let first = commit(&place, &members, 1);
    place.wait(|_, event| matches!(event, Event::Finished { transaction } if *transaction == first).then_some(()));

    place.database.lock().expect("no panic holds it").hangs = true;
    let second = commit(&place, &members, 2);
    let decided = place
        .wait(|id, event| matches!(event, Event::Ended { transaction, .. } if *transaction == second).then_some(id));
    let serving = members.iter().position(|member| member.id == decided).expect("one of them");
    assert_eq!(members[serving].core.serves().wait(), Ok(()));
    let other = (serving + 1) % 3;
    let leader = Some(NodeId(decided));
    assert_eq!(members[other].core.serves().wait(), Err(NotServed::Elsewhere { leader }));
    // The replica below answers under the same group.
    let replica: ReplicaHandle<Raft, BoundLog> = members[other].node.replica(GROUP);
    assert_eq!(replica.status().wait().expect("it runs").log.leader, leader);

    let stopped = members.remove(serving).stop();
    place.database.lock().expect("no panic holds it").hangs = false;
    let finished =
        |id, event: &Event| matches!(event, Event::Finished { transaction } if *transaction == second).then_some(id);
    assert_ne!(place.wait(finished), stopped);
    assert_eq!(place.database.lock().expect("no panic holds it").committed, [first, second].into());

    for member in members {
        member.stop();
    }
    let members: Vec<Member> = (1..=3).map(|id| place.start(id)).collect();
    let third = commit(&place, &members, 3);
    assert!(third > second);
    command(&members, &Command::Query { command: CommandId(4), transaction: second });
    let known = |_, event: &Event| if let Event::Known { knowledge, .. } = event { Some(*knowledge) } else { None };
    assert_eq!(place.wait(known), Knowledge::Committed);
    for member in members {
        member.stop();
    }
}
