//! A machine that does little but note what happens to it.

use quorate_protocol::{Instant, NodeId, Now, Random, Violation};
use quorate_simulation::schedule::{Fault, FaultKind, LossBudget, Schedule, What};
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, ClusterLaws, Damage, Folder, Loss, Machine, MachineInput, MachineOutput, NodeView,
    Observation, Recording, RunOutcome, Workload, run,
};

/// Every ten milliseconds of its clock it tells all peers a number and writes that number. Node 1 leads.
pub(crate) struct Probe {
    node: NodeId,
    peers: u64,
    next_at: Instant,
    outputs: Vec<MachineOutput<u64, u64>>,
    starts: u64,
    is_building: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeDisk {
    pub(crate) incarnation: u64,
    pub(crate) told: u64,
    pub(crate) starts: u64,
    pub(crate) notes: Vec<Note>,
    /// So many messages came with a bit flipped.
    pub(crate) heard_flipped: u64,
    /// What each round handed in, in its order: frames and links, news, calls, time-outs, by their first letters.
    pub(crate) rounds: Vec<String>,
    /// What the round under way has handed in.
    round: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Note {
    /// A number was made durable, when the node's clocks stood so.
    Wrote(Now, u64),
    Crashed(Loss),
    Damaged(Damage),
    Mended(Damage),
    Linked(NodeId),
    Unlinked(NodeId),
    Transfer(NodeId),
    ChangeMembers(u64),
    AddGroup(u64),
    RemoveGroup(u64),
    /// A snapshot was built, when the node's clocks stood so.
    Built(Now),
    LostFolder(Folder),
}

impl Machine for Probe {
    type Setup = u64;
    type Message = u64;
    type Call = ();
    type Answer = u64;
    type Disk = ProbeDisk;

    const EXPECTED: &'static [&'static str] = &[];

    fn fresh_disk(_: &u64, _: NodeId, incarnation: u64) -> ProbeDisk {
        ProbeDisk { incarnation, ..ProbeDisk::default() }
    }

    fn copy_disk(disk: &ProbeDisk) -> ProbeDisk {
        disk.clone()
    }

    fn start(setup: &u64, node: NodeId, now: Now, disk: &mut ProbeDisk) -> Result<Self, String> {
        disk.starts += 1;
        let next_at = now.instant.after(EVERY);
        Ok(Self { node, peers: *setup, next_at, outputs: Vec::new(), starts: disk.starts, is_building: false })
    }

    fn handle(&mut self, now: Now, disk: &mut ProbeDisk, input: MachineInput<u64, ()>) {
        disk.round.push(match &input {
            MachineInput::Message { .. } | MachineInput::LinkUp { .. } | MachineInput::LinkDown { .. } => 'f',
            MachineInput::Done { .. } => 'n',
            MachineInput::Call { .. }
            | MachineInput::AddGroup { .. }
            | MachineInput::RemoveGroup { .. }
            | MachineInput::Transfer { .. }
            | MachineInput::ChangeMembers(_) => 'c',
            MachineInput::Timeout => 't',
        });
        match input {
            MachineInput::Timeout => {
                self.next_at = now.instant.after(EVERY);
                disk.told += 1;
                let peers = (1..=self.peers).map(NodeId).filter(|peer| *peer != self.node);
                self.outputs.push(MachineOutput::Write { token: disk.told });
                if !std::mem::replace(&mut self.is_building, true) {
                    self.outputs.push(MachineOutput::Build { token: BUILD });
                }
                self.outputs.extend(peers.map(|to| MachineOutput::Send { to, message: disk.told }));
            }
            MachineInput::Done { token: BUILD } => {
                self.is_building = false;
                disk.notes.push(Note::Built(now));
            }
            MachineInput::Done { token } => disk.notes.push(Note::Wrote(now, token)),
            MachineInput::LinkUp { peer, .. } => disk.notes.push(Note::Linked(peer)),
            MachineInput::LinkDown { peer } => disk.notes.push(Note::Unlinked(peer)),
            MachineInput::Transfer { to } => disk.notes.push(Note::Transfer(to)),
            MachineInput::ChangeMembers(call) => disk.notes.push(Note::ChangeMembers(call.attempt)),
            MachineInput::AddGroup { group } => disk.notes.push(Note::AddGroup(group)),
            MachineInput::RemoveGroup { group } => disk.notes.push(Note::RemoveGroup(group)),
            MachineInput::Call { call, .. } => {
                self.outputs.push(MachineOutput::Answer { call, answer: ClientAnswer::Done(self.node.0) });
            }
            MachineInput::Message { message, .. } => disk.heard_flipped += u64::from(message & FLIPPED != 0),
        }
    }

    fn poll(&mut self, _: Now, disk: &mut ProbeDisk) -> Option<MachineOutput<u64, u64>> {
        if self.outputs.is_empty() {
            disk.rounds.push(std::mem::take(&mut disk.round));
            return None;
        }
        Some(self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next_at)
    }

    fn crash(self, disk: &mut ProbeDisk, loss: Loss, _: &mut Random) {
        disk.notes.push(Note::Crashed(loss));
    }

    fn bears(_: FaultKind) -> bool {
        true
    }

    fn damage(disk: &mut ProbeDisk, _: Option<&mut Self>, damage: Damage, _: &mut Random) -> bool {
        disk.notes.push(Note::Damaged(damage));
        true
    }

    fn mend(disk: &mut ProbeDisk, _: Option<&mut Self>, damage: Damage) {
        disk.notes.push(Note::Mended(damage));
    }

    fn lose_folder(disk: &mut ProbeDisk, folder: Folder) -> bool {
        disk.notes.push(Note::LostFolder(folder));
        true
    }

    fn flip_bit(message: &mut u64, _: &mut Random) -> bool {
        *message |= FLIPPED;
        true
    }

    fn message_bytes(_: &u64) -> u64 {
        1_000
    }

    fn observe(&self) -> Observation {
        Observation { term: self.starts, is_leader: self.node.0 == 1, ..Observation::default() }
    }
}

/// What the nodes had noted at the end, and who was lost.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) disks: Vec<ProbeDisk>,
    pub(crate) lost: Vec<u64>,
}

impl ClusterLaws<Probe> for Notes {
    fn check(&mut self, _: &[NodeView<'_, Probe>]) -> Result<(), Violation> {
        Ok(())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Probe>]) -> Result<(), Violation> {
        self.disks = nodes.iter().map(|view| view.disk.clone()).collect();
        self.lost = nodes.iter().filter(|view| view.is_lost).map(|view| view.node.0).collect();
        Ok(())
    }
}

/// Clients that ask whoever is up.
struct Callers(Random);

impl Workload<Probe> for Callers {
    fn call(&mut self, _: u64, cluster: ClusterInfo, _: u64) -> (NodeId, ()) {
        (cluster.choose(&mut self.0), ())
    }

    fn answered(&mut self, _: u64, (): &(), _: &ClientAnswer<u64>, _: u64) {}

    fn pause_us(&mut self, _: u64) -> u64 {
        self.0.between(1_000, 20_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

/// A run of these faults, each from 1 s to 2 s, on three nodes.
pub(crate) fn schedule(faults: impl IntoIterator<Item = What>) -> Schedule {
    let fault = |what| Fault { at_us: 1_000_000, for_us: 1_000_000, demands_progress: false, what };
    Schedule {
        seed: 1,
        nodes: 3,
        joining: 0,
        clients: 2,
        at_leader_percent: 0,
        snapshot_every: 100,
        budget: LossBudget::Tolerated,
        faults_us: 3_000_000,
        faults: faults.into_iter().map(fault).collect(),
    }
}

pub(crate) fn probe(schedule: &Schedule) -> (RunOutcome, Notes) {
    let mut notes = Notes::default();
    let outcome = probe_under(schedule, &mut notes);
    assert_eq!(outcome.failure, None);
    (outcome, notes)
}

pub(crate) fn probe_under(schedule: &Schedule, laws: &mut dyn ClusterLaws<Probe>) -> RunOutcome {
    let mut callers = Callers(Random::new(schedule.seed));
    run::<Probe>(&schedule.nodes, schedule, laws, &mut callers, Recording::Everything)
}

const BUILD: u64 = u64::MAX;
const FLIPPED: u64 = 1 << 63;
const EVERY: std::time::Duration = std::time::Duration::from_millis(10);
