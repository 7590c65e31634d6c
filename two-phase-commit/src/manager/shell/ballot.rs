//! The votes of a transaction of several resources, collected where its application runs: the core is asked to commit
//! and told the votes in one command.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::calls::{Completion, Subject, with_sources};
use super::shared::Shared;
use crate::manager::core::ManagerAnswer;
use crate::manager::{BranchId, ResourceId};
use crate::{TransactionNumber, Vote};

/// The votes of a transaction so far. Each call to a resource holds it: when the last has ended, however it did, the
/// core is asked to commit, and asks the resources without a vote itself.
///
/// If that takes long, the core is asked before: then it is the core's times that count, and it shows what is stuck. A
/// call that is under way goes on, and answers the core's request.
pub(super) struct Ballot {
    shared: Weak<Shared>,
    number: TransactionNumber,
    state: Mutex<State>,
}

struct State {
    /// `None` once the core was asked.
    votes: Option<BTreeMap<ResourceId, Option<Vote>>>,
    /// The calls that have not ended, and that no request of the core waits for.
    under_way: BTreeSet<ResourceId>,
    /// Answers to calls that ended after the core was asked to commit, and before it asked for them.
    early: BTreeMap<ResourceId, ManagerAnswer>,
    /// The requests that wait for calls.
    requests: BTreeMap<ResourceId, Completion>,
}

/// A call to a resource, which may end without a vote.
struct Voter {
    ballot: Arc<Ballot>,
    resource: ResourceId,
    has_cast: bool,
}

impl Ballot {
    /// Asks these resources to prepare their branches of a transaction.
    pub(super) fn hold(shared: &Arc<Shared>, number: TransactionNumber, resources: Vec<ResourceId>) {
        let state = State {
            votes: Some(resources.iter().map(|resource| (*resource, None)).collect()),
            under_way: resources.iter().copied().collect(),
            early: BTreeMap::new(),
            requests: BTreeMap::new(),
        };
        let ballot = Arc::new(Self { shared: Arc::downgrade(shared), number, state: Mutex::new(state) });
        for id in resources {
            let branch = BranchId { manager: shared.id, number, resource: id };
            let voter = Voter { ballot: ballot.clone(), resource: id, has_cast: false };
            let resource = shared.resources[&id].resource.clone();
            shared.calls.make(Subject::Branch(branch), async move {
                let mut prepare = pin!(resource.prepare(branch));
                let vote = if let Ok(vote) = tokio::time::timeout(HAND_OVER_AFTER, &mut prepare).await {
                    vote
                } else {
                    voter.ballot.hand_over();
                    prepare.await
                };
                voter.cast(match vote {
                    Ok(vote) => ManagerAnswer::Voted(vote),
                    Err(error) => ManagerAnswer::Failed(with_sources(&error)),
                });
            });
        }
    }

    /// Makes a request of the core wait for the call that is under way. Returns it if there is none.
    pub(super) fn adopt(&self, resource: ResourceId, request: Completion) -> Option<Completion> {
        let mut state = self.state();
        if let Some(answer) = state.early.remove(&resource) {
            drop(state);
            request.answer(answer);
            return None;
        }
        if !state.under_way.remove(&resource) {
            return Some(request);
        }
        state.requests.insert(resource, request);
        None
    }

    /// Asks the core to commit, with the votes so far.
    fn close(&self) {
        let votes = self.state().votes.take();
        if let (Some(votes), Some(shared)) = (votes, self.shared.upgrade()) {
            shared.post_commit(self.number, votes);
        }
    }

    fn hand_over(self: &Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.note_ballot(self.number, self);
        }
        self.close();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ballot {
    fn drop(&mut self) {
        self.close();
    }
}

impl Voter {
    /// The first no decides. A failure says nothing of the branch: the core asks again.
    fn cast(mut self, answer: ManagerAnswer) {
        self.has_cast = true;
        let mut state = self.ballot.state();
        state.under_way.remove(&self.resource);
        if let Some(request) = state.requests.remove(&self.resource) {
            drop(state);
            return request.answer(answer);
        }
        match (&mut state.votes, answer) {
            (Some(votes), ManagerAnswer::Voted(vote)) => {
                votes.insert(self.resource, Some(vote));
                if vote == Vote::No {
                    drop(state);
                    self.ballot.close();
                }
            }
            (Some(_), _) => {}
            (None, answer) => drop(state.early.insert(self.resource, answer)),
        }
    }
}

impl Drop for Voter {
    fn drop(&mut self) {
        if !self.has_cast {
            let mut state = self.ballot.state();
            state.under_way.remove(&self.resource);
            let request = state.requests.remove(&self.resource);
            drop(state);
            // This answers it.
            drop(request);
        }
    }
}

/// Time after which the core is asked although votes are missing.
const HAND_OVER_AFTER: Duration = Duration::from_millis(100);
