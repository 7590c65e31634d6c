//! A migration in progress: the owner of each key while ranges are handed over one by one.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::error::display;
use crate::hash::KeyHash;
use crate::movement::{Movement, MovementPlan, PlanError};
use crate::node::Node;
use crate::token_placement::TokenPlacement;

/// Number of changes of a migration. A request that was routed by an older generation may have gone to the wrong node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Generation(pub u64);

/// A migration from one ring to another, carried out range by range.
///
/// A key belongs to its old owner until its range is [completed](Migration::complete), and then to its new owner. A key
/// that was [pinned](Migration::pin) belongs to the node that it was pinned to. Every change makes a new
/// [`Generation`]. A request that carries the generation by which it was routed can be [checked](Migration::check)
/// where it arrives.
///
/// ```
/// use quorate_consistent_hash::{Migration, Node, Nodes, Ring};
///
/// let before = Ring::new(Nodes::named(["a", "b", "c"])?)?;
/// let mut after = before.clone();
/// after.add(Node::new("d"))?;
/// let mut migration = Migration::new(before, after)?;
/// while let Some((step, movement)) = migration.next_step() {
///     println!("copy {:?} from {} to {}", movement.range, movement.from.name(), movement.to.name());
///     migration.complete(step);
/// }
/// let ring = migration.finish().expect("every step is complete");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Migration<P> {
    before: P,
    after: P,
    plan: MovementPlan,
    /// A digest that tells this plan from others.
    plan_digest: u64,
    /// By position in the plan: the generation of the last change of the step, and whether it is completed.
    steps: Vec<StepState>,
    left: usize,
    pins: BTreeMap<u64, Box<str>>,
    /// For each key that was ever pinned, the generation of the last change to it.
    changed: BTreeMap<u64, Generation>,
    generation: Generation,
}

#[derive(Clone, Copy, Debug, Default)]
struct StepState {
    completed: bool,
    since: Generation,
}

/// Position of a movement in its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(usize);

/// The part of a migration that must outlive a restart, as plain data. [`Migration::progress`] makes it and
/// [`Migration::resume`] takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MigrationProgress {
    /// The last generation.
    pub generation: Generation,
    /// A digest of the plan, which tells it from other plans.
    pub plan: u64,
    /// Number of movements in the plan.
    pub steps: usize,
    /// Positions of the completed movements in the plan, ascending.
    pub completed: Vec<usize>,
    /// The generation of the last change of each movement that was ever changed, ascending by position.
    pub since: Vec<(usize, Generation)>,
    /// The generation of the last change of each key that was ever pinned, ascending by hash.
    pub changed: Vec<(KeyHash, Generation)>,
    /// Pinned key hashes and their nodes' names, ascending by hash.
    pub pins: Vec<(KeyHash, Box<str>)>,
    /// A digest of all fields above.
    pub fingerprint: u64,
}

impl MigrationProgress {
    /// A digest of all fields except the fingerprint.
    fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.number(self.generation.0).number(self.plan).number(self.steps as u64);
        digest.number(self.completed.len() as u64);
        for &step in &self.completed {
            digest.number(step as u64);
        }
        digest.number(self.since.len() as u64);
        for &(step, since) in &self.since {
            digest.number(step as u64).number(since.0);
        }
        digest.number(self.changed.len() as u64);
        for &(hash, since) in &self.changed {
            digest.number(hash.0).number(since.0);
        }
        for (hash, name) in &self.pins {
            digest.number(hash.0).text(name);
        }
        digest.finish()
    }
}

/// Reason why a migration cannot be started, resumed or changed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationError {
    /// The two rings cannot be compared.
    Plan(PlanError),
    /// No node has this name in either ring.
    UnknownNode(Box<str>),
    /// The progress belongs to another migration.
    OtherPlan,
    /// The progress differs from the one that was stored: it was damaged, edited, or put together from several.
    FingerprintMismatch,
    /// The request was routed by a generation that is not the current one.
    StaleGeneration {
        /// The generation of the request.
        given: Generation,
        /// The generation of the migration.
        current: Generation,
    },
}

display!(
    MigrationError,
    self,
    f,
    match self {
        Self::Plan(error) => error.fmt(f),
        Self::UnknownNode(name) => write!(f, "no node is named {name:?}"),
        Self::OtherPlan => f.write_str("the progress belongs to another migration"),
        Self::FingerprintMismatch => f.write_str("the stored fingerprint does not match the progress"),
        Self::StaleGeneration { given, current } => {
            write!(f, "routed by generation {}, the current one is {}", given.0, current.0)
        }
    }
);

impl<P: TokenPlacement> Migration<P> {
    /// Plans a migration in which nothing has been handed over yet.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Plan`].
    pub fn new(before: P, after: P) -> Result<Self, MigrationError> {
        let plan = MovementPlan::new(&before, &after, 1).map_err(MigrationError::Plan)?;
        let left = plan.len();
        Ok(Self {
            before,
            after,
            steps: vec![StepState::default(); left],
            left,
            plan_digest: plan.digest(),
            plan,
            pins: BTreeMap::new(),
            changed: BTreeMap::new(),
            generation: Generation::default(),
        })
    }

    /// Resumes a migration between the same rings after a restart.
    ///
    /// # Errors
    ///
    /// [`MigrationError::FingerprintMismatch`]; [`MigrationError::OtherPlan`] if the progress does not belong to
    /// exactly these rings; and the errors of [`Migration::new`] and [`Migration::pin`].
    pub fn resume(before: P, after: P, progress: &MigrationProgress) -> Result<Self, MigrationError> {
        if progress.digest() != progress.fingerprint {
            return Err(MigrationError::FingerprintMismatch);
        }
        let mut migration = Self::new(before, after)?;
        let is_of_plan = progress.plan == migration.plan_digest && progress.steps == migration.plan.len();
        if !is_of_plan || progress.completed.iter().any(|&step| step >= progress.steps) {
            return Err(MigrationError::OtherPlan);
        }
        for &step in &progress.completed {
            migration.complete(StepId(step));
        }
        for (hash, name) in &progress.pins {
            migration.pin(*hash, name)?;
        }
        for &(step, since) in &progress.since {
            migration.steps.get_mut(step).ok_or(MigrationError::OtherPlan)?.since = since;
        }
        migration.changed = progress.changed.iter().map(|&(hash, since)| (hash.0, since)).collect();
        migration.generation = progress.generation;
        Ok(migration)
    }

    /// The part of the migration that must outlive a restart.
    pub fn progress(&self) -> MigrationProgress {
        let steps = || (0..).zip(&self.steps);
        let completed = steps().filter(|(_, step)| step.completed).map(|(place, _)| place);
        let since = steps().filter(|(_, step)| step.since > Generation::default());
        let mut progress = MigrationProgress {
            generation: self.generation,
            plan: self.plan_digest,
            steps: self.plan.len(),
            completed: completed.collect(),
            since: since.map(|(place, step)| (place, step.since)).collect(),
            changed: self.changed.iter().map(|(&hash, &since)| (KeyHash(hash), since)).collect(),
            pins: self.pins.iter().map(|(&hash, name)| (KeyHash(hash), name.clone())).collect(),
            fingerprint: 0,
        };
        progress.fingerprint = progress.digest();
        progress
    }

    /// The next movement to carry out; `None` once all are completed.
    pub fn next_step(&self) -> Option<(StepId, Movement<'_>)> {
        let step = self.steps.iter().position(|step| !step.completed)?;
        Some((StepId(step), self.plan.movement(step)))
    }

    /// The movements from this node that are not completed yet. Once the node has died, they need another source.
    pub fn movements_from(&self, node: &str) -> impl Iterator<Item = (StepId, Movement<'_>)> {
        let left = self.plan.movements_from(node).filter(|(step, _)| !self.steps[*step].completed);
        left.map(|(step, movement)| (StepId(step), movement))
    }

    /// Hands a range over: its keys belong to their new owner from now on.
    ///
    /// # Panics
    ///
    /// If the step belongs to another migration.
    pub fn complete(&mut self, step: StepId) -> Generation {
        let state = &mut self.steps[step.0];
        if !state.completed {
            self.left -= 1;
            self.generation.0 += 1;
            *state = StepState { completed: true, since: self.generation };
        }
        self.generation
    }

    /// Gives one key to a node, whatever the rings say, until it is [unpinned](Migration::unpin).
    ///
    /// # Errors
    ///
    /// [`MigrationError::UnknownNode`].
    pub fn pin(&mut self, hash: KeyHash, node: &str) -> Result<Generation, MigrationError> {
        if self.node_named(node).is_none() {
            return Err(MigrationError::UnknownNode(node.into()));
        }
        self.pins.insert(hash.0, node.into());
        self.generation.0 += 1;
        self.changed.insert(hash.0, self.generation);
        Ok(self.generation)
    }

    /// Removes a pin. The rings decide the owner of the key again.
    pub fn unpin(&mut self, hash: KeyHash) -> Generation {
        if self.pins.remove(&hash.0).is_some() {
            self.generation.0 += 1;
            self.changed.insert(hash.0, self.generation);
        }
        self.generation
    }

    /// The current owner of a hashed key.
    pub fn owner_of(&self, hash: KeyHash) -> &Node {
        if let Some(node) = self.pins.get(&hash.0).and_then(|name| self.node_named(name)) {
            return node;
        }
        let ring = match self.plan.step_of(hash) {
            Some(step) if !self.steps[step].completed => &self.before,
            _ => &self.after,
        };
        ring.nodes().node(ring.owner_of(hash))
    }

    /// The current owner of a key.
    pub fn owner(&self, key: &[u8]) -> &Node {
        self.owner_of(self.after.hash(key))
    }

    /// The current generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Checks that a request was routed by the current generation.
    ///
    /// # Errors
    ///
    /// [`MigrationError::StaleGeneration`].
    pub fn check(&self, given: Generation) -> Result<(), MigrationError> {
        let current = self.generation;
        if given == current { Ok(()) } else { Err(MigrationError::StaleGeneration { given, current }) }
    }

    /// Checks that the owner of one key has not changed since a request was routed, so that requests for keys of
    /// unchanged ranges can go on.
    ///
    /// # Errors
    ///
    /// [`MigrationError::StaleGeneration`] if the key's owner changed after `given`, or `given` is not a past
    /// generation of this migration.
    pub fn check_key(&self, hash: KeyHash, given: Generation) -> Result<(), MigrationError> {
        let step = self.plan.step_of(hash).map(|step| self.steps[step].since);
        let since = step.max(self.changed.get(&hash.0).copied()).unwrap_or_default();
        let current = self.generation;
        if since <= given && given <= current {
            Ok(())
        } else {
            Err(MigrationError::StaleGeneration { given, current })
        }
    }

    /// The reverse migration: completed ranges are to be handed back, and the others already belong to the right node.
    /// Pins stay, and generations go on. Reversing twice gives the original migration.
    #[must_use]
    pub fn reversed(self) -> Self {
        let plan = self.plan.reversed();
        let generation = Generation(self.generation.0 + 1);
        let turned = |state: &StepState| StepState { completed: !state.completed, since: state.since };
        let steps: Vec<_> = self.steps.iter().map(turned).collect();
        Self {
            before: self.after,
            after: self.before,
            plan_digest: plan.digest(),
            plan,
            left: steps.iter().filter(|state| !state.completed).count(),
            steps,
            pins: self.pins,
            changed: self.changed,
            generation,
        }
    }

    /// The ring that the migration starts from.
    pub fn before(&self) -> &P {
        &self.before
    }

    /// The ring that the migration leads to.
    pub fn after(&self) -> &P {
        &self.after
    }

    /// The whole plan.
    pub fn plan(&self) -> &MovementPlan {
        &self.plan
    }

    /// Number of movements that are not completed yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Ends the migration and returns the new ring, once all movements are completed. Pins end with it.
    ///
    /// # Errors
    ///
    /// The migration itself, while movements are left.
    pub fn finish(self) -> Result<P, alloc::boxed::Box<Self>> {
        if self.left == 0 { Ok(self.after) } else { Err(Box::new(self)) }
    }

    fn node_named(&self, name: &str) -> Option<&Node> {
        let [after, before] = [&self.after, &self.before].map(|ring| {
            let index = ring.nodes().index_of(name)?;
            Some(ring.nodes().node(index))
        });
        after.or(before)
    }
}
