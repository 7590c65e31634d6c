use std::io;

use quorate_protocol::{LogIndex, LogTime};

use super::*;
use crate::Epoch;
use quorate_runtime::{ApplyContext, StateMachine};

/// Accounts that are never below zero. Work is a name of one letter and a signed amount.
#[derive(Clone, Debug, Default)]
struct Accounts(BTreeMap<u8, i64>);

impl StateMachine for Accounts {
    type Snapshot = Self;

    fn apply(&mut self, _: ApplyContext, work: Bytes) -> io::Result<Bytes> {
        let balance = self.0.entry(work[0]).or_default();
        *balance += amount(&work);
        Ok(Bytes::copy_from_slice(&balance.to_le_bytes()))
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn write(snapshot: Self, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot.0.iter().try_for_each(|(name, balance)| {
            out.write_all(&[*name])?;
            out.write_all(&balance.to_le_bytes())
        })
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let balance = |entry: &[u8]| i64::from_le_bytes(entry[1..].try_into().expect("eight bytes"));
        Ok(Self(bytes.chunks_exact(9).map(|entry| (entry[0], balance(entry))).collect()))
    }

    fn digest(&self) -> u64 {
        self.0.values().fold(0, |sum, balance| sum.wrapping_mul(31).wrapping_add(balance.cast_unsigned()))
    }
}

impl BranchState for Accounts {
    fn keys(&self, work: &Bytes) -> BTreeSet<Bytes> {
        [work.slice(..1)].into()
    }

    fn vote(&self, _: LogTime, work: &Bytes) -> Vote {
        let balance = self.0.get(&work[0]).copied().unwrap_or_default();
        if balance + amount(work) < 0 { Vote::No } else { Vote::Yes }
    }

    /// An upper-case name points to the account of the lower-case one.
    fn take(&mut self, work: Bytes) -> Bytes {
        [&[work[0].to_ascii_lowercase()], &work[1..]].concat().into()
    }
}

fn amount(work: &Bytes) -> i64 {
    i64::from_le_bytes(work[1..9].try_into().expect("eight bytes"))
}

fn work(name: u8, amount: i64) -> Bytes {
    let mut bytes = vec![name];
    bytes.extend(amount.to_le_bytes());
    bytes.into()
}

const MANAGER: ManagerId = ManagerId { cluster: quorate_protocol::ClusterId(7), log: 8 };
const RESOURCE: ResourceId = ResourceId(9);

fn number(sequence: u64) -> TransactionNumber {
    TransactionNumber { epoch: Epoch(1), sequence }
}

fn branch(sequence: u64) -> BranchId {
    BranchId { manager: MANAGER, number: number(sequence), resource: RESOURCE }
}

struct Bench {
    machine: Branched<Accounts>,
    index: u64,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { machine: Branched::new(Accounts::default()), index: 0 };
        bench.run(&Command::Outside { work: work(b'a', 10) });
        bench
    }

    /// Carries out a command, as it comes from the log.
    fn run(&mut self, command: &Command) -> Response {
        self.index += 1;
        let context = ApplyContext { index: LogIndex(self.index), log_time: LogTime(1) };
        let response = self.machine.apply(context, command.encode()).expect("accounts do not fail");
        Response::decode(response).expect("a response")
    }

    fn prepare(&mut self, sequence: u64, amount: i64) -> Vote {
        let work = Some(work(b'a', amount));
        match self.run(&Command::Prepare { branch: branch(sequence), work }) {
            Response::Voted(vote) => vote,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, sequence: u64) -> CommitEnd {
        match self.run(&Command::Commit { branch: branch(sequence) }) {
            Response::Committed(end) => end,
            other => panic!("{other:?}"),
        }
    }

    fn roll_back(&mut self, sequence: u64) -> RollBackEnd {
        match self.run(&Command::RollBack { branch: branch(sequence) }) {
            Response::RolledBack(end) => end,
            other => panic!("{other:?}"),
        }
    }

    fn one_phase(&mut self, sequence: u64, work: Option<Bytes>) -> Decision {
        match self.run(&Command::CommitOnePhase { branch: branch(sequence), work }) {
            Response::Decided(decision) => decision,
            other => panic!("{other:?}"),
        }
    }

    fn forget(&mut self, below: u64, unfinished: &[u64]) {
        let unfinished = unfinished.iter().copied().map(number).collect();
        let below = number(below);
        self.run(&Command::Forget { manager: MANAGER, resource: RESOURCE, below, unfinished });
    }

    fn balance(&self) -> i64 {
        self.machine.state().0[&b'a']
    }

    /// The state that another node gets.
    fn copy(&self) -> Self {
        let mut bytes = Vec::new();
        Branched::<Accounts>::write(self.machine.snapshot(), &mut bytes).expect("a vector takes everything");
        Self { machine: Branched::restore(&mut &bytes[..]).expect("it was just written"), index: self.index }
    }
}

#[test]
fn a_branch_takes_effect_at_its_commit_and_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.prepare(1, -4), Vote::Yes);
    assert_eq!(bench.prepare(1, -4), Vote::Yes, "asked again");
    assert_eq!(bench.balance(), 10, "prepared work is not done");
    assert_eq!(bench.commit(1), CommitEnd::Committed);
    assert_eq!(bench.commit(1), CommitEnd::Committed);
    assert_eq!(bench.balance(), 6);
    assert_eq!(bench.roll_back(1), RollBackEnd::Committed, "nothing hides a commit");
    assert!(bench.machine.locks().is_empty());
}

#[test]
fn what_work_points_to_is_taken_at_the_vote_and_kept_with_the_branch() {
    let mut bench = Bench::new();
    let prepare = Command::Prepare { branch: branch(1), work: Some(work(b'A', 5)) };
    assert_eq!(bench.run(&prepare), Response::Voted(Vote::Yes));
    for mut bench in [bench.copy(), bench] {
        assert_eq!(bench.machine.locks().keys().collect::<Vec<_>>(), [&b"a"[..]]);
        assert_eq!(bench.commit(1), CommitEnd::Committed);
        assert_eq!(bench.balance(), 15);
    }
}

#[test]
fn what_a_prepared_branch_holds_changes_by_nothing_else() {
    let mut bench = Bench::new();
    assert_eq!(bench.prepare(1, -10), Vote::Yes);
    assert_eq!(bench.prepare(2, -1), Vote::No, "another branch");
    let outside = bench.run(&Command::Outside { work: work(b'a', -1) });
    assert_eq!(outside, Response::Outside(OutsideEnd::Locked(branch(1))));
    assert_eq!(bench.one_phase(3, Some(work(b'a', -1))), Decision::Abort);
    assert_eq!(bench.commit(1), CommitEnd::Committed);
    assert_eq!(bench.balance(), 0);
    assert_eq!(bench.prepare(4, -1), Vote::No, "the account is empty");
}

#[test]
fn nothing_is_prepared_after_its_roll_back_or_when_it_is_over() {
    let mut bench = Bench::new();
    assert_eq!(bench.roll_back(1), RollBackEnd::RolledBack);
    assert_eq!(bench.prepare(1, -1), Vote::No, "the prepare comes late");
    assert_eq!(bench.commit(1), CommitEnd::RolledBack);
    assert_eq!(bench.prepare(3, -1), Vote::Yes);
    bench.forget(5, &[3]);
    assert_eq!(bench.machine.evidence(), 0);
    assert_eq!(bench.prepare(2, -1), Vote::No, "its transaction is over");
    assert_eq!(bench.roll_back(2), RollBackEnd::RolledBack);
    assert_eq!(bench.machine.evidence(), 0, "and nothing is kept of it");
    assert_eq!(bench.commit(3), CommitEnd::Committed, "an unfinished one goes on");
    assert_eq!(bench.commit(3), CommitEnd::Committed);
    bench.forget(4, &[]);
    assert_eq!(bench.commit(3), CommitEnd::Committed, "an older report does not count");
    bench.forget(5, &[]);
    assert_eq!(bench.commit(3), CommitEnd::Lost);
}

#[test]
fn a_commit_in_one_phase_is_known_when_asked_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.one_phase(1, Some(work(b'a', -4))), Decision::Commit);
    assert_eq!(bench.one_phase(1, None), Decision::Commit, "its work is lost by now");
    assert_eq!(bench.balance(), 6);
    assert_eq!(bench.one_phase(2, None), Decision::Abort);
    assert_eq!(bench.one_phase(2, Some(work(b'a', -4))), Decision::Abort, "that came late");
    assert_eq!(bench.balance(), 6);
    assert_eq!(bench.one_phase(3, Some(work(b'a', -7))), Decision::Abort, "there is not enough");
}

#[test]
fn a_snapshot_has_the_branches_and_their_locks() {
    let mut bench = Bench::new();
    assert_eq!(bench.prepare(1, -4), Vote::Yes);
    assert_eq!(bench.roll_back(2), RollBackEnd::RolledBack);
    bench.forget(2, &[1]);
    let mut copy = bench.copy();
    assert_eq!(copy.machine.digest(), bench.machine.digest());
    assert_eq!(copy.machine.locks(), bench.machine.locks());
    assert_eq!(copy.prepare(3, -1), Vote::No, "the lock is there");
    assert_eq!(copy.prepare(2, -1), Vote::No, "and so is the fence");
    assert_eq!(copy.commit(1), CommitEnd::Committed);
    assert_eq!(copy.balance(), 6);
    assert_ne!(copy.machine.digest(), bench.machine.digest());
}

#[test]
fn only_the_branches_of_a_manager_and_its_resource_are_listed() {
    let mut bench = Bench::new();
    bench.prepare(1, -4);
    assert_eq!(bench.machine.prepared_of(MANAGER, RESOURCE), [branch(1)].into());
    let other = ManagerId { log: 1, ..MANAGER };
    assert!(bench.machine.prepared_of(other, RESOURCE).is_empty());
    assert!(bench.machine.prepared_of(MANAGER, ResourceId(1)).is_empty());
}

#[test]
fn work_that_is_proposed_as_it_is_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    let context = ApplyContext { index: LogIndex(9), log_time: LogTime(1) };
    for bytes in [work(b'a', -4), Bytes::new(), Bytes::from_static(b"QB")] {
        let response = bench.machine.apply(context, bytes).expect("accounts do not fail");
        assert_eq!(Response::decode(response.clone()), Ok(Response::NoCommand));
        assert_eq!(OutsideEnd::decode(response), Err(UnknownResponse));
    }
    assert_eq!(bench.balance(), 10);
    assert_eq!(bench.prepare(1, -4), Vote::Yes, "the group goes on");
}

#[test]
#[should_panic(expected = "a newer program proposed this command")]
fn a_command_of_a_newer_version_is_never_passed_over() {
    let context = ApplyContext { index: LogIndex(9), log_time: LogTime(1) };
    let _ = Bench::new().machine.apply(context, Bytes::from_static(b"QBr\x02\x01"));
}

#[test]
fn damaged_bytes_are_refused() {
    let mut bench = Bench::new();
    bench.prepare(1, -4);
    bench.forget(1, &[]);
    let mut bytes = Vec::new();
    Branched::<Accounts>::write(bench.machine.snapshot(), &mut bytes).expect("a vector takes everything");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    for end in 0..8 + usize::try_from(length).expect("small") {
        assert!(Branched::<Accounts>::restore(&mut &bytes[..end]).is_err(), "{end} bytes are too few");
    }
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Branched::<Accounts>::restore(&mut &bytes[..]).is_err(), "a length beyond the end");
    for command in [Command::Commit { branch: branch(1) }, Command::Prepare { branch: branch(1), work: None }] {
        let bytes = command.encode();
        assert_eq!(Command::decode(bytes.clone()), Ok(command));
        assert_eq!(Command::decode(bytes.slice(..bytes.len() - 1)), Err(codec::UnknownCommand::Newer));
    }
    assert_eq!(Response::decode(Bytes::from_static(&[1, 9, 0])), Err(UnknownResponse));
    assert_eq!(Response::decode(Bytes::from_static(&[2, 5])), Err(UnknownResponse));
}

/// The bytes of every command and response, as released.
#[test]
fn commands_and_responses_have_the_released_bytes() {
    let id = "07000000000000000000000000000000080000000000000001000000000000000200000000000000";
    let (at, resource) = (format!("{id}0900000000000000"), RESOURCE);
    let manager = &id[..48];
    let numbers = "01000000000000000300000000000000";
    let branch = branch(2);
    let some = Some(Bytes::from_static(b"w"));
    let unfinished = [number(3)].into();
    let commands = [
        (Command::Prepare { branch, work: some.clone() }, format!("0101{at}0177")),
        (Command::Prepare { branch, work: None }, format!("0101{at}00")),
        (Command::Commit { branch }, format!("0102{at}")),
        (Command::CommitOnePhase { branch, work: some }, format!("0103{at}0177")),
        (Command::RollBack { branch }, format!("0104{at}")),
        (
            Command::Forget { manager: MANAGER, resource, below: number(3), unfinished },
            format!("0105{manager}0900000000000000{numbers}{numbers}"),
        ),
        (Command::Outside { work: Bytes::from_static(b"w") }, "010677".to_owned()),
    ];
    for (command, expected) in commands {
        assert_eq!(hex(&command.encode()), format!("514272{expected}"), "{command:?}");
        assert_eq!(Command::decode(command.encode()), Ok(command));
    }
    let responses = [
        (Response::Voted(Vote::Yes), "010101".to_owned()),
        (Response::Voted(Vote::ReadOnly), "010102".to_owned()),
        (Response::Committed(CommitEnd::Lost), "010200".to_owned()),
        (Response::Committed(CommitEnd::RolledBack), "010202".to_owned()),
        (Response::Decided(Decision::Commit), "010301".to_owned()),
        (Response::RolledBack(RollBackEnd::Committed), "010401".to_owned()),
        (Response::Forgotten, "0105".to_owned()),
        (Response::NoCommand, "0107".to_owned()),
        (Response::Outside(OutsideEnd::Done(Bytes::from_static(b"r"))), "01060072".to_owned()),
        (Response::Outside(OutsideEnd::Locked(branch)), format!("010601{at}")),
    ];
    for (response, expected) in responses {
        assert_eq!(hex(&response.encode()), expected, "{response:?}");
        assert_eq!(Response::decode(response.encode()), Ok(response));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
