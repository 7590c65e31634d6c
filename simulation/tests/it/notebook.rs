//! A toy core on the shipped node. Nodes keep numbers in their journals. A node that answers before its write is
//! durable is found, and the schedule is shrunk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Input, Instant, NodeId, Now, Operation, Outbox, OutboxLimits, Output, Protocol, RecoverError, Recovery,
    Signal, Violation, Wire, WireError,
};
use quorate_runtime::GroupStart;
use quorate_simulation::campaign::Campaign;
use quorate_simulation::diagram::svg;
use quorate_simulation::node_machine::{Guest, GuestDesk, Host, HostLaws, NodeMachine, NodeSetup};
use quorate_simulation::schedule::{FaultKind, Generator, Schedule};
use quorate_simulation::shrink::shrink;
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, NodeView, Observation, Recording, RunOutcome, Workload, run,
};

/// A core that keeps numbers and reports each that it has kept. It has no peers.
#[derive(Clone, Debug)]
struct Notebook {
    /// The bug: it reports a number before its write is durable.
    is_hasty: bool,
    numbers: BTreeSet<u64>,
    outbox: Outbox<Self>,
}

#[derive(Clone, Debug)]
struct Nothing;

impl Wire for Nothing {
    type Small = ();

    fn to_parts(&self, _: &mut Vec<Bytes>) {}

    fn from_parts((): (), _: Vec<Bytes>) -> Result<Self, WireError> {
        Ok(Self)
    }
}

impl Protocol for Notebook {
    type Config = bool;
    type Message = Nothing;
    type Command = u64;
    type Event = u64;
    type Request = ();
    type Answer = ();
    type View = BTreeSet<u64>;

    fn recover(_: Now, is_hasty: bool, recovery: Recovery) -> Result<Self, RecoverError> {
        let records = recovery.journal.into_iter().flatten();
        let numbers = records.map(|record| record.map(|(number, _)| number)).collect::<Result<_, _>>()?;
        Ok(Self { is_hasty, numbers, outbox: Outbox::new(OutboxLimits::default()) })
    }

    fn handle(&mut self, _: Now, input: Input<Self>) {
        match input {
            Input::Command(number) => {
                self.numbers.insert(number);
                let write =
                    self.outbox.persist([Operation::Journal { key: number, bytes: Bytes::from_static(b"kept") }]);
                if self.is_hasty {
                    self.outbox.event(number);
                } else {
                    self.outbox.event_after(write, number);
                }
            }
            Input::Signal(Signal::Persisted(ticket)) => self.outbox.persisted(ticket),
            Input::Signal(Signal::PersistFailed { failure, .. }) => {
                self.outbox.poison();
                self.outbox.push(Output::Halt { reason: HaltReason::LogFailed(failure) });
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        self.outbox.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn model_view(&self) -> BTreeSet<u64> {
        self.numbers.clone()
    }

    fn check_invariants(&self) {}
}

/// Answers a call when the core reports its number.
#[derive(Default)]
struct Writer {
    /// The call that waits for each number.
    calls: BTreeMap<u64, u64>,
}

impl Guest for Writer {
    type Core = Notebook;
    type Setup = bool;
    type Call = u64;
    type Answer = ();
    type Kept = ();

    const EXPECTED: &'static [&'static str] = &[];

    fn config(is_hasty: &bool, _: &GroupStart) -> bool {
        *is_hasty
    }

    fn start(_: &bool, _: &mut GuestDesk<'_, '_, Self>) -> Self {
        Self::default()
    }

    fn call(&mut self, desk: &mut GuestDesk<'_, '_, Self>, call: u64, number: u64) {
        self.calls.insert(number, call);
        desk.command(number);
    }

    fn event(&mut self, desk: &mut GuestDesk<'_, '_, Self>, number: u64) {
        if let Some(call) = self.calls.remove(&number) {
            desk.answer(call, ClientAnswer::Done(()));
        }
    }

    fn request(&mut self, _: &mut GuestDesk<'_, '_, Self>, (): ()) -> Option<()> {
        None
    }

    fn observe(&self, _: &Notebook) -> Observation {
        Observation::default()
    }
}

/// The numbers that clients were told to be kept, and the nodes that keep them.
type Acknowledged = Rc<RefCell<BTreeMap<u64, NodeId>>>;

struct Clients {
    last: u64,
    asked: BTreeMap<u64, NodeId>,
    acknowledged: Acknowledged,
}

impl Workload<NodeMachine<Host<Writer>>> for Clients {
    fn call(&mut self, _: u64, cluster: ClusterInfo, _: u64) -> (NodeId, u64) {
        self.last += 1;
        let node = NodeId(1 + self.last % cluster.nodes);
        self.asked.insert(self.last, node);
        (node, self.last)
    }

    fn answered(&mut self, _: u64, number: &u64, answer: &ClientAnswer<()>, _: u64) {
        let node = self.asked.remove(number).expect("it was asked");
        if matches!(answer, ClientAnswer::Done(())) {
            self.acknowledged.borrow_mut().insert(*number, node);
        }
    }

    fn pause_us(&mut self, _: u64) -> u64 {
        5_000
    }

    fn judge(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

const LAW: &str = "what was acknowledged is kept";

fn run_notebooks(schedule: &Schedule, is_hasty: bool, recording: Recording) -> RunOutcome {
    let setup = NodeSetup::<Host<Writer>>::hosted(schedule, is_hasty);
    let acknowledged = Acknowledged::default();
    let mut clients = Clients { last: 0, asked: BTreeMap::new(), acknowledged: Rc::clone(&acknowledged) };
    let is_kept = move |nodes: &[NodeView<'_, NodeMachine<Host<Writer>>>]| {
        for (number, keeper) in acknowledged.borrow().iter() {
            let view = nodes.iter().find(|view| view.node == *keeper);
            let core = view.and_then(|view| view.machine).and_then(NodeMachine::core);
            if core.is_some_and(|core| !core.numbers.contains(number)) {
                return Err(Violation { law: LAW, detail: format!("node {keeper} has lost {number}") });
            }
        }
        Ok(())
    };
    run(&setup, schedule, &mut HostLaws::<Writer>::new(Vec::new(), Box::new(is_kept)), &mut clients, recording)
}

/// Power cuts, and disks on which a write takes a while.
fn power_cuts() -> Generator {
    let kinds = vec![FaultKind::LostWrites, FaultKind::TornWrites, FaultKind::Pause, FaultKind::SlowDisk];
    Generator { kinds, faults_us: 4_000_000, ..Generator::default() }
}

#[test]
fn a_toy_that_waits_for_its_disk_loses_nothing() {
    let generator = power_cuts();
    let campaign = Campaign { generator, seeds: 0..10, threads: 2, is_run_twice: true, failures_max: 5 };
    let summary = campaign.run(|schedule| run_notebooks(schedule, false, Recording::Nothing), || {});
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    assert!(summary.acknowledged_median > 100, "{} calls were acknowledged", summary.acknowledged_median);
}

#[test]
fn a_toy_that_does_not_wait_for_its_disk_is_found_and_the_schedule_shrunk() {
    let breaks_it = |schedule: &Schedule| {
        run_notebooks(schedule, true, Recording::Nothing).failure.is_some_and(|failure| failure.law == LAW)
    };
    let schedule = (0..50).map(|seed| power_cuts().schedule(seed)).find(breaks_it).expect("found within 50 seeds");
    let smallest = shrink(schedule, 200, breaks_it);
    assert!((1..=2).contains(&smallest.faults.len()), "{:?}", smallest.faults);
    let outcome = run_notebooks(&smallest, true, Recording::Everything);
    assert!(svg(smallest.nodes, &outcome.moments, 120).contains(LAW), "the violation is marked");
    assert_eq!(run_notebooks(&smallest, false, Recording::Nothing).failure, None);
}
