//! Reads: they ask the acceptors without a ballot, so that they take one round trip and no write, and readers do not
//! disturb proposers.
//!
//! If a quorum has accepted a content in one ballot, and none of a quorum has accepted a later one, it was the content
//! at some moment since the query began. Otherwise a proposer is probably at work: the read asks again, and then begins
//! a ballot, which finishes what it saw.

use quorate_protocol::NodeId;

use super::base::Base;
use super::content::Key;
use super::message::Report;
use super::proposer::Proposer;
use super::work::{Job, ReadRound, Work};
use super::{Ignored, ReadOutcome};

impl Proposer {
    /// Begins a query for the waiting reads, unless one is under way. Answers that were given before a read say nothing
    /// about it.
    pub(super) fn begin_round(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        if work.reads.is_empty() || work.round.is_some() {
            return;
        }
        self.queries += 1;
        for read in &mut work.reads {
            read.round = Some(self.queries);
        }
        let mut round = ReadRound::new(self.queries, base.chassis.instant());
        round.ask(base, key);
        work.round = Some(round);
    }

    /// Handles an acceptor's report of what it has accepted.
    pub(crate) fn on_report(&mut self, base: &mut Base, from: NodeId, report: Report) -> Result<(), Ignored> {
        base.check_acceptor(from)?;
        if let Some((ballot, _)) = &report.accepted {
            base.check_ballot(*ballot)?;
        }
        let key: Key = report.key[..].into();
        let mut work = self.take_work(&key).ok_or(Ignored::StaleAnswer)?;
        let is_of_this_start = report.start == base.config.seed();
        let round = work.round.as_mut().filter(|round| is_of_this_start && round.number == report.number);
        let noted = match round {
            Some(round) => {
                if let Some((ballot, _)) = &report.accepted {
                    base.note_round(ballot.round);
                }
                round.note(from, report.accepted);
                self.conclude_round(base, &key, &mut work);
                Ok(())
            }
            None => Err(Ignored::StaleAnswer),
        };
        self.put_back(key, work);
        noted
    }

    /// Draws conclusions from the answers.
    fn conclude_round(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let quorums = base.in_force();
        let Some(round) = &mut work.round else { return };
        if let Some(found) = round.found(quorums) {
            let number = round.number;
            (work.round, work.inconclusive) = (None, 0);
            let (answered, waiting): (Vec<_>, Vec<_>) = work.reads.iter().partition(|read| read.round == Some(number));
            work.reads = waiting;
            for read in answered {
                self.answer_read(base, read.id, ReadOutcome::Found(found.clone()));
            }
            return self.want(key, work);
        }
        if round.is_answered(quorums) && !round.is_inconclusive {
            // Later answers of this query may still lead to a conclusion.
            round.is_inconclusive = true;
            round.retry_at = round.retry_at.min(base.draw_backoff(work.inconclusive));
        }
    }

    /// If the time of the query is over, acceptors that have not answered are asked again. If enough have answered
    /// without a conclusion, all are asked again, and after that a ballot finishes what was accepted.
    pub(super) fn repeat_round(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let now = base.chassis.instant();
        if work.reads.is_empty() {
            work.round = None;
        }
        let Some(round) = work.round.as_mut().filter(|round| round.retry_at <= now) else { return };
        if !round.is_inconclusive {
            return round.ask(base, key);
        }
        work.round = None;
        work.inconclusive = work.inconclusive.saturating_add(1);
        if work.inconclusive >= QUERIES_BEFORE_BALLOT && base.is_counting() {
            // Behind the job under way: reads end before all that wait.
            let reads = std::mem::take(&mut work.reads);
            let place = usize::from(work.attempt.is_some()).min(work.jobs.len());
            work.jobs.insert(place, Job::Read { reads });
            work.inconclusive = 0;
        }
        self.want(key, work);
    }
}

/// Number of queries without a conclusion that are left to other proposers, before a read begins a ballot.
const QUERIES_BEFORE_BALLOT: u32 = 2;
