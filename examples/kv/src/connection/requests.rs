//! The way from requests to work: each is answered at once, or joins a group of reads or writes.

use std::sync::Arc;

use bytes::Bytes;

use crate::clients::{ClientFilter, ClientRequest};
use crate::command::{
    Blocking, Command, Keys, PubSubCommand, Query, Question, ReadBatch, Replies, SessionCommand, SessionEffect, Spec,
    TransactionCommand, abort_because, parse,
};
use crate::entry::{
    ENTRY_BYTES_MAX, EntryWriter, Watched, command_bytes_max, decode_arguments, encode_arguments, transaction_bytes_max,
};
use crate::pubsub::{self, Message};
use crate::random;
use crate::resp::{Reply, Request};
use crate::shards::layout::Target;

use super::access::{is_exec, login_of};
use super::observed::{First, Taken};
use super::subscriptions::Asking;
use super::transaction::{Exec, Transaction};
use super::{Connection, Freshness, PendingReply, Reason, State, Work};

/// Consecutive commands of the input that take effect together.
pub(super) enum Group {
    Writes { target: Target, entry: EntryWriter, count: usize, is_full: bool, blocking: Option<Blocking> },
    Reads { target: Target, queries: Vec<Query>, freshness: Freshness, is_full: bool },
    Messages { messages: Vec<Message>, bytes: usize },
    Question(Question),
    Clients(ClientRequest),
}

impl Connection {
    /// Takes the first request of the input and returns its length. `None` if it is incomplete, or must not begin yet.
    pub(super) fn take_request(&mut self, input: &[u8], group: &mut Option<Group>) -> Option<usize> {
        self.reader.set_stranger(self.is_stranger());
        let request = match self.reader.request(input) {
            Ok(request) => request?,
            Err(_) if group.is_some() => return None,
            Err(error) => {
                self.reply(0, &Reply::error(format!("ERR Protocol error: {error}")));
                self.session.closing = true;
                return None;
            }
        };
        let length = self.reader.request_bytes();
        if let Some(reason) = refusal(&request) {
            if group.is_some() {
                return None;
            }
            self.reply(length, &Reply::error(reason.to_string()));
            return Some(self.reader.consume());
        }
        let arguments = request.arguments();
        if arguments.is_empty() {
            return Some(self.reader.consume());
        }
        let place = Spec::place(arguments[0]);
        let spec = place.map(Spec::at);
        let mut parsed = parse(spec, &arguments);
        if let (Ok(command), Some(spec)) = (&parsed, spec)
            && let Some(refusal) = self.refuse_to_subscriber(spec, command, &arguments)
        {
            parsed = Err(refusal);
        }
        if let Some(spec) = spec
            && let Some(refusal) = self.refuse_access(spec, &parsed, &arguments)
        {
            // A transaction whose end is refused has ended all the same.
            let ends = is_exec(&parsed) && matches!(self.transaction.exec(), Exec::Failed | Exec::Run(..));
            parsed = Err(if ends { abort_because(&refusal) } else { refusal });
        }
        let is_queued = self.transaction.is_open() && !is_never_queued(&parsed);
        let is_rejected = parsed.is_err();
        self.carry_out(parsed, &arguments, length, group)?;
        if let Some(place) = place {
            let taken = match () {
                () if is_rejected => Taken::Rejected,
                () if is_queued => Taken::Queued,
                () if group.is_some() => Taken::Grouped,
                () => Taken::Answered,
            };
            self.note_taken(place, &arguments, taken);
        }
        self.kept.extend(self.reader.take_reservation());
        Some(self.reader.consume())
    }

    /// Carries out a request or lets it join a group. `None` if it must not begin yet.
    fn carry_out(
        &mut self,
        parsed: Result<Command<'_>, Reply>,
        arguments: &[&[u8]],
        length: usize,
        group: &mut Option<Group>,
    ) -> Option<()> {
        match parsed {
            parsed if self.transaction.is_open() && !is_never_queued(&parsed) => {
                let reply = self.queue(&parsed, arguments);
                self.reply(length, &reply);
            }
            Ok(Command::Transaction(command)) => self.take_transaction(command, length, group)?,
            Ok(Command::Write(spec)) if command_bytes_max(arguments) <= self.limits.command_bytes_max => {
                self.join_writes(group, spec, arguments)?;
            }
            Ok(Command::Read(Query::Wait { shows_own })) if self.is_unsure && group.is_none() && self.writing == 0 => {
                // Nobody knows whether the last write is anywhere.
                let none = Reply::Integer(0);
                let reply = if shows_own { Reply::Array(vec![none.clone(), none]) } else { none };
                self.reply(length, &reply);
            }
            Ok(Command::Read(query)) => self.take_read(query, arguments, group)?,
            Ok(Command::PubSub(command)) => self.take_pub_sub(command, length, group)?,
            // This request is answered here, so the earlier ones must have their place among the replies first.
            _ if group.is_some() => return None,
            Ok(Command::Write(_)) => self.reply(length, &Reply::error(Reason::TooLarge.to_string())),
            Ok(Command::Acl(command)) => match self.answer_acl(&command) {
                Some(reply) => self.reply(length, &reply),
                None => self.join_user_change(group, arguments)?,
            },
            Ok(Command::Clients(ClientRequest::Kill(filter))) if let Some(user) = self.missing_user(&filter) => {
                self.reply(length, &Reply::Error([b"ERR No such user '", &user[..], b"'"].concat()));
            }
            Ok(Command::Clients(request)) => *group = Some(Group::Clients(request)),
            Ok(Command::Admin(command)) => {
                let reply = command.execute(&mut self.observed.stats.borrow_mut(), self.memory.max());
                self.reply(length, &reply);
            }
            Ok(Command::Session(SessionCommand::Ping(text))) if self.is_restricted() => {
                self.reply(length, &Self::pong(text));
            }
            Ok(Command::Session(SessionCommand::Reset)) if self.is_subscribed() && !self.slots.is_empty() => {
                return None;
            }
            Ok(Command::Session(command)) => match self.execute(command) {
                SessionEffect::Reply(reply) => self.reply(length, &reply),
                SessionEffect::Ask(query) => self.join_reads(group, Target::Shard(0), query)?,
                SessionEffect::Reset(reply) => {
                    self.transaction = Transaction::default();
                    self.subscriptions.clear();
                    self.reply(length, &reply);
                }
                SessionEffect::Nothing => {}
            },
            Err(reply) => self.reply(length, &reply),
        }
        Some(())
    }

    /// Takes a read. One over several shards is carried out like a transaction. `None` if it must not begin yet.
    fn take_read(&mut self, query: Query, arguments: &[&[u8]], group: &mut Option<Group>) -> Option<()> {
        let target = self.target(arguments).unwrap_or(Target::Shard(0));
        let is_short = command_bytes_max(arguments) <= self.limits.command_bytes_max;
        match query {
            Query::Command(..) if target == Target::Several && is_short => {
                let spec = Spec::find(arguments[0]).expect("it was parsed");
                self.join_writes(group, spec, arguments)
            }
            query => self.join_reads(group, target, query),
        }
    }

    /// Carries out a command about the transaction. `None` if it must not begin yet.
    fn take_transaction(
        &mut self,
        command: TransactionCommand,
        length: usize,
        group: &mut Option<Group>,
    ) -> Option<()> {
        // The versions of keys that are watched come with the answers to reads.
        let waits = self.reading > 0 && !matches!(command, TransactionCommand::Multi | TransactionCommand::Watch(_));
        if group.is_some() || waits {
            return None;
        }
        let reply = match command {
            TransactionCommand::Multi if self.transaction.is_open() => {
                Reply::error("ERR MULTI calls can not be nested")
            }
            TransactionCommand::Multi => {
                self.transaction.open();
                Reply::OK
            }
            TransactionCommand::Watch(_) if self.transaction.is_open() => {
                Reply::error("ERR WATCH inside MULTI is not allowed")
            }
            TransactionCommand::Watch(keys) => {
                let target = self.layout.target(keys.iter().map(|key| &**key)).unwrap_or(Target::Shard(0));
                return self.join_reads(group, target, Query::Watch(keys));
            }
            TransactionCommand::Unwatch => {
                self.transaction.unwatch();
                Reply::OK
            }
            TransactionCommand::Discard => match self.transaction.exec() {
                Exec::Missing => Reply::error("ERR DISCARD without MULTI"),
                Exec::Failed | Exec::Run(..) => Reply::OK,
            },
            TransactionCommand::MalformedExec => {
                self.transaction.exec();
                Reply::error("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
            }
            TransactionCommand::Exec => match self.transaction.exec() {
                Exec::Missing => Reply::error("ERR EXEC without MULTI"),
                Exec::Failed => Reply::error("EXECABORT Transaction discarded because of previous errors."),
                Exec::Run(watched, commands) if watched.is_empty() && commands.is_empty() => Reply::Array(Vec::new()),
                Exec::Run(watched, commands) => {
                    if let Some(refusal) = self.refuse_queued(&commands) {
                        self.reply(length, &refusal);
                        return Some(());
                    }
                    let target = self.target_of_transaction(&watched, &commands);
                    if !self.may_write(target) {
                        self.transaction.again(watched, commands);
                        return None;
                    }
                    let bytes = transaction_bytes_max(&watched, &commands);
                    if bytes <= self.limits.command_bytes_max {
                        let runs_scripts = commands.iter().any(|command| is_script(command));
                        let mut entry = self.new_entry(target, bytes, runs_scripts);
                        entry.transaction(&watched, &commands);
                        *group = Some(Group::Writes { target, entry, count: 1, is_full: true, blocking: None });
                        return Some(());
                    }
                    Reply::error(Reason::TooLarge.to_string())
                }
            },
        };
        self.reply(length, &reply);
        Some(())
    }

    /// Adds a command to the open transaction and returns the reply.
    fn queue(&mut self, parsed: &Result<Command<'_>, Reply>, arguments: &[&[u8]]) -> Reply {
        let refusal = match parsed {
            Ok(Command::Write(_) | Command::Read(Query::Command(..) | Query::Keys(_)))
                if self.target(arguments) == Some(Target::Every) =>
            {
                Reply::error(Reason::CrossShard.to_string())
            }
            Ok(
                Command::Write(_)
                | Command::Read(Query::Command(..) | Query::Keys(_) | Query::Waiting(..))
                | Command::PubSub(PubSubCommand::Publish(_))
                | Command::Transaction(TransactionCommand::Unwatch)
                | Command::Session(SessionCommand::Ping(_) | SessionCommand::Echo(_) | SessionCommand::Select(0)),
            ) => match self.push(arguments) {
                Ok(()) => return Reply::Status("QUEUED"),
                Err(reason) => Reply::error(reason.to_string()),
            },
            Ok(_) => Reply::error("ERR Command not allowed inside a transaction"),
            Err(error) => error.clone(),
        };
        self.transaction.fail();
        refusal
    }

    /// Keeps a command for `EXEC`. Those of a long transaction take their memory from the room for large requests.
    fn push(&mut self, arguments: &[&[u8]]) -> Result<(), Reason> {
        let command = encode_arguments(arguments);
        if self.transaction.bytes() + command.len() > ENTRY_BYTES_MAX {
            self.kept.push(self.reader.reserve(command.len()).ok_or(Reason::Overloaded)?);
        }
        let fits = self.transaction.push(command, self.limits.command_bytes_max);
        fits.then_some(()).ok_or(Reason::TooLarge)
    }

    /// Adds a change of the users, which is alone in its entry. `None` if it must not begin yet.
    fn join_user_change(&mut self, group: &mut Option<Group>, arguments: &[&[u8]]) -> Option<()> {
        let rewritten = self.rewritten(arguments);
        let arguments: Vec<&[u8]> = rewritten.iter().map(Vec::as_slice).collect();
        let spec = Spec::find(arguments[0]).expect("it was parsed");
        self.join_writes(group, spec, &arguments)?;
        self.access.is_changing = true;
        Some(())
    }

    /// The user that a filter names, if there is none of this name.
    fn missing_user(&self, filter: &ClientFilter) -> Option<Bytes> {
        filter.user.clone().filter(|user| self.access.known.users.get(user).is_none())
    }

    /// Carries out a command about the connection.
    fn execute(&mut self, command: SessionCommand<'_>) -> SessionEffect {
        let users = Arc::clone(&self.access.known.users);
        let attempt = login_of(&command);
        let effect = self.session.execute(command, &users);
        if matches!(&effect, SessionEffect::Reply(Reply::Error(text)) if text.starts_with(b"WRONGPASS")) {
            self.note_failed_login(attempt);
        }
        self.look_up_user();
        effect
    }

    fn new_entry(&mut self, target: Target, capacity: usize, runs_scripts: bool) -> EntryWriter {
        let (next, drawn) = random::draw(self.random);
        self.random = next;
        let grants = if runs_scripts { self.grants() } else { Vec::new() };
        let entry = EntryWriter::for_grants(self.session.version, self.wall_ms, drawn, &grants, capacity);
        entry.with_memory_max(self.memory.limit(target))
    }

    /// Adds a write to the group. `None` if it must not begin yet.
    fn join_writes(&mut self, group: &mut Option<Group>, spec: &Spec, arguments: &[&[u8]]) -> Option<()> {
        // The reply may be as long as a value, so such a write has a group of its own.
        let returns_old = |argument: &&[u8]| argument.eq_ignore_ascii_case(b"get");
        let is_alone = spec.is_long || spec.name == "set" && arguments.iter().skip(3).any(returns_old);
        let target = self.target_of(spec, arguments).unwrap_or(Target::Shard(0));
        let is_alone = is_alone || !matches!(target, Target::Shard(_));
        if self.reading > 0 || (is_alone && group.is_some()) || (group.is_none() && !self.may_write(target)) {
            return None;
        }
        let added = command_bytes_max(arguments);
        let group = group.get_or_insert_with(|| Group::Writes {
            target,
            entry: self.new_entry(target, added, spec.group == "scripting"),
            count: 0,
            is_full: false,
            blocking: Blocking::of(spec, arguments),
        });
        match group {
            Group::Writes { target: whole, entry, count, is_full, .. }
                if !*is_full
                    && *whole == target
                    && (*count == 0 || (*count < GROUP_COMMANDS_MAX && entry.len() + added <= GROUP_BYTES_MAX)) =>
            {
                entry.command(arguments);
                *count += 1;
                *is_full = is_alone;
                Some(())
            }
            _ => None,
        }
    }

    /// Adds a read to the group. `None` if it must not begin yet.
    fn join_reads(&self, group: &mut Option<Group>, target: Target, query: Query) -> Option<()> {
        let is_alone = query.is_alone() || !matches!(target, Target::Shard(_));
        // The answer to an earlier read must not be taken for that of one that waits.
        let waits = matches!(query, Query::Waiting(..)) && self.reading > 0;
        if self.writing > 0 || waits || (is_alone && group.is_some()) {
            return None;
        }
        // Reads about the node must be answered without a quorum, and a transaction must not depend on what is old.
        let may_be_old = self.session.local_reads && !matches!(query, Query::Watch(_));
        let is_local = may_be_old || query.is_about_node();
        let group = group.get_or_insert_with(|| Group::Reads {
            target,
            queries: Vec::new(),
            freshness: if is_local { Freshness::Local } else { Freshness::Linearizable },
            is_full: is_alone,
        });
        match group {
            Group::Reads { target: whole, queries, is_full, .. }
                if queries.is_empty() || (!*is_full && *whole == target) =>
            {
                queries.push(query);
                *is_full |= queries.len() == GROUP_COMMANDS_MAX;
                Some(())
            }
            _ => None,
        }
    }

    /// The shard with the keys of a request. `None` if it has no keys, so that any may carry it out.
    fn target(&self, arguments: &[&[u8]]) -> Option<Target> {
        self.target_of(Spec::find(arguments[0])?, arguments)
    }

    fn target_of(&self, spec: &Spec, arguments: &[&[u8]]) -> Option<Target> {
        if self.layout.shards() == 1 {
            return Some(Target::Shard(0));
        }
        if spec.concerns_all() {
            return Some(Target::Every);
        }
        if spec.reads_unnamed(arguments) {
            return Some(Target::Several);
        }
        match spec.keys {
            Keys::Range(1, 1, 1) => self.layout.target([arguments[1]]),
            _ => self.layout.target(spec.keys_of(arguments)?),
        }
    }

    fn target_of_transaction(&self, watched: &[Watched], commands: &[Bytes]) -> Target {
        let watched = self.layout.target(watched.iter().map(|watched| &*watched.key));
        let targets = commands
            .iter()
            .filter_map(|command| self.target(&decode_arguments(command).expect("this process encoded them")));
        watched.into_iter().chain(targets).reduce(Target::with).unwrap_or(Target::Shard(0))
    }

    /// Returns true if a write may begin. Of several shards each may refuse it for a moment, for example because of a
    /// transaction. Then it is proposed again, so no later write to the same shard may be on its way.
    fn may_write(&self, target: Target) -> bool {
        let is_in_the_way = |slot: &PendingReply| match slot.state {
            State::Writes { target: other, .. } => other == target,
            _ => false,
        };
        match target {
            _ if self.layout.shards() == 1 => true,
            Target::Shard(_) => !self.slots.iter().any(is_in_the_way),
            Target::Several | Target::Every => self.writing == 0 && self.reading == 0,
        }
    }

    /// Gives a group its place among the replies.
    pub(super) fn begin(&mut self, group: Group, request_bytes: usize) -> Work {
        let slot = self.first_slot + self.slots.len() as u64;
        let version = self.session.version;
        let mut first = First::Name;
        let (state, work) = match group {
            Group::Writes { target, entry, count, blocking, .. } => {
                self.writing += 1;
                self.is_blocked = blocking.is_some();
                let entry = entry.finish();
                // What goes to its shard in pieces would be overtaken.
                self.is_alone = !matches!(target, Target::Shard(_)) || entry.len() > ENTRY_BYTES_MAX;
                first = First::OfEntry(entry.clone());
                let changes_users = self.access.is_changing;
                (State::Writes { count, target }, Work::Write { slot, target, entry, blocking, changes_users })
            }
            Group::Reads { target, queries, freshness, .. } => {
                self.reading += 1;
                let count = queries.len();
                let batch = ReadBatch { queries, version };
                self.is_blocked = batch.blocking().is_some();
                first = First::of_batch(&batch);
                (State::Reads { count, target, freshness }, Work::Read { slot, target, batch, freshness })
            }
            Group::Messages { messages, .. } => {
                self.reading += 1;
                let count = messages.len();
                (
                    State::Asking(Asking::Messages(count)),
                    Work::Ask { slot, request: pubsub::Request::Publish(messages) },
                )
            }
            Group::Question(question) => {
                self.reading += 1;
                let request = question.request();
                (State::Asking(Asking::Question(question)), Work::Ask { slot, request })
            }
            Group::Clients(request) => {
                self.reading += 1;
                (State::Clients, Work::Clients { slot, request })
            }
        };
        self.unanswered_bytes += request_bytes;
        let measured = self.measure(first);
        self.slots.push_back(PendingReply { request_bytes, version, state, measured });
        if self.session.replies == Replies::SkipNext {
            self.session.replies = Replies::On;
        }
        work
    }
}

/// The reason why a request was read and dropped.
fn refusal(request: &Request<'_>) -> Option<Reason> {
    match request {
        Request::TooLarge => Some(Reason::TooLarge),
        Request::NoRoom => Some(Reason::Overloaded),
        Request::Array(_) | Request::Inline(_) => None,
    }
}

/// Returns true if a command is carried out at once although a transaction is open.
fn is_never_queued(parsed: &Result<Command<'_>, Reply>) -> bool {
    match parsed {
        Ok(Command::Transaction(command)) => *command != TransactionCommand::Unwatch,
        Ok(Command::Session(command)) => {
            matches!(command, SessionCommand::Quit | SessionCommand::Reset | SessionCommand::HttpRequest)
        }
        _ => false,
    }
}

/// Returns true if a command runs others.
fn is_script(command: &[u8]) -> bool {
    let arguments = decode_arguments(command).expect("this process encoded them");
    Spec::find(arguments[0]).is_some_and(|spec| spec.group == "scripting")
}

/// Maximum number of commands that become one entry of the log, or one read.
const GROUP_COMMANDS_MAX: usize = 128;
/// Maximum bytes of writes that become one entry of the log. A larger write has an entry of its own.
const GROUP_BYTES_MAX: usize = 64 * 1024;
