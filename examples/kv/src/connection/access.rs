//! What the client of a connection may do.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{
    AclCommand, Command, Denied, SessionCommand, Spec, TransactionCommand, check, generate_password, hash_password,
    is_free, may_listen, rewrite,
};
use crate::credentials::Login;
use crate::entry::decode_arguments;
use crate::http::Admission;
use crate::pubsub::Topic;
use crate::resp::Reply;
use crate::stats::Refusal;
use crate::store::{DEFAULT_USER, User, Users};

use super::{Connection, Reason};

/// The users as this node knows them.
#[derive(Debug, Clone, Default)]
pub struct KnownUsers {
    /// The users, with the first password if nobody has changed the user `default`.
    pub users: Arc<Users>,
    /// The users as the store has them.
    pub stored: Arc<Users>,
    /// They are those of the cluster, or were so since this node has started.
    pub is_current: bool,
}

/// What the client of a connection may do.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) known: KnownUsers,
    /// The user as whom the client acts. `None` before the users are known.
    user: Option<Arc<User>>,
    /// An entry that changes the users is on its way.
    pub(super) is_changing: bool,
}

impl Access {
    /// That of a client that may do everything, in a store without users.
    pub(super) fn open() -> Self {
        let known = KnownUsers::current(&Arc::default());
        let user = known.users.get(DEFAULT_USER).cloned();
        Self { known, user, is_changing: false }
    }
}

impl KnownUsers {
    /// Users that are those of the cluster.
    pub fn current(users: &Arc<Users>) -> Self {
        Self { users: Arc::clone(users), stored: Arc::clone(users), is_current: true }
    }

    /// Whether somebody who logs in so, or does not, may do everything.
    pub fn admission(&self, login: Option<&Login>) -> Admission {
        let name = login.and_then(|login| login.user.as_deref()).map_or(DEFAULT_USER, str::as_bytes);
        let password = login.and_then(|login| login.password.as_deref());
        let user = self.users.get(name);
        let is_he = user.is_some_and(|user| match password {
            Some(password) => user.admits(&hash_password(password.as_bytes())),
            None => user.is_on && user.takes_any_password,
        });
        match user {
            Some(user) if is_he && user.is_unrestricted() => Admission::Admitted,
            _ if is_he => Admission::Denied,
            _ => Admission::LoginNeeded,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.users, &other.users) && self.is_current == other.is_current
    }
}

impl Connection {
    /// Makes the connection one of a client that has just come, by these users.
    pub fn admit(&mut self, known: KnownUsers) {
        self.session.act_as_default(&known.users);
        self.access.known = known;
        self.look_up_user();
    }

    /// Sets the users by which the client's commands are checked. Returns false if the client must go: its user is
    /// gone, or may not listen to a channel to which the client subscribes.
    #[must_use]
    pub fn set_users(&mut self, known: &KnownUsers) -> bool {
        if self.access.known.is_same(known) {
            return true;
        }
        self.access.known = known.clone();
        self.look_up_user();
        let Some(user) = &self.access.user else { return false };
        let [channels, patterns, shard_channels] = Topic::ALL.map(|topic| self.subscriptions.names(topic));
        user.is_unrestricted() || may_listen(user, &[channels, shard_channels].concat(), &patterns)
    }

    /// Returns true if an entry of this client that changes the users is on its way.
    pub fn is_changing_users(&self) -> bool {
        self.access.is_changing
    }

    pub(super) fn look_up_user(&mut self) {
        self.access.user = self.access.known.users.get(&self.session.user).cloned();
    }

    /// What scripts of the client may do. Empty: everything.
    pub(super) fn grants(&self) -> Vec<u8> {
        self.access.user.as_ref().map(|user| user.encoded_grants()).unwrap_or_default()
    }

    /// The reply to a request that the client may not make now.
    pub(super) fn refuse_access(
        &mut self,
        spec: &Spec,
        parsed: &Result<Command<'_>, Reply>,
        arguments: &[&[u8]],
    ) -> Option<Reply> {
        if !spec.takes(arguments.len()) || is_free(spec) {
            return None;
        }
        if self.session.needs_login(&self.access.known.users) {
            return Some(Reply::error("NOAUTH Authentication required."));
        }
        let denied = match &self.access.user {
            Some(user) => check(user, spec, arguments).err(),
            None => Some(Denied::Command(spec.full_name(arguments))),
        };
        if let Some(denied) = denied {
            self.note_refusal(Refusal::of(&denied), if self.transaction.is_open() { "multi" } else { "toplevel" });
            return Some(denied.reply());
        }
        // What the store has to say waits until this node knows who may ask.
        let asks_store = match parsed {
            Ok(Command::Write(_) | Command::PubSub(_) | Command::Acl(AclCommand::Change)) => true,
            Ok(Command::Read(query)) => !query.is_about_node(),
            _ => false,
        };
        (asks_store && !self.access.known.is_current).then(|| Reply::error(Reason::NoQuorum.to_string()))
    }

    /// The reply to `EXEC` if one of its commands is no longer allowed.
    pub(super) fn refuse_queued(&self, commands: &[Bytes]) -> Option<Reply> {
        let user = self.access.user.as_ref()?;
        let denied = |command: &Bytes| {
            let arguments = decode_arguments(command).ok()?;
            check(user, Spec::find(arguments[0])?, &arguments).err()
        };
        commands.iter().find_map(denied).map(|denied| {
            Reply::error(format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {}",
                denied.reason()
            ))
        })
    }

    /// The arguments of a command that changes the users, as the log has them.
    pub(super) fn rewritten(&self, arguments: &[&[u8]]) -> Vec<Vec<u8>> {
        rewrite(arguments, &self.access.known.users, &self.access.known.stored)
    }

    /// Answers a question about users or refusals. `None` for a change of users.
    pub(super) fn answer_acl(&mut self, command: &AclCommand<'_>) -> Option<Reply> {
        match command {
            AclCommand::Change => None,
            AclCommand::Log(count) => Some(self.refusals(*count)),
            AclCommand::ResetLog => {
                self.observed.stats.borrow_mut().refusals.clear();
                Some(Reply::OK)
            }
            AclCommand::GeneratePassword(bits) => Some(generate_password(*bits)),
            command => command.answer(&self.access.known.users, &self.session.user),
        }
    }

    /// Notes that a client failed to authenticate.
    pub(super) fn note_failed_login(&mut self, attempt: Option<LoginAttempt>) {
        if let Some(LoginAttempt { user, command }) = attempt {
            let refusal = Refusal { reason: "auth", object: command.as_bytes().to_vec() };
            self.note_refusal_of(refusal, "toplevel", user);
        }
    }

    fn note_refusal(&mut self, refusal: Refusal, context: &'static str) {
        let user = self.session.user.to_vec();
        self.note_refusal_of(refusal, context, user);
    }

    fn note_refusal_of(&mut self, refusal: Refusal, context: &'static str, user: Vec<u8>) {
        let now = self.observed.now_micros();
        let client = self.row(now).to_string();
        self.observed.stats.borrow_mut().refusals.note(refusal, context, user, client, now);
    }

    fn refusals(&self, count: usize) -> Reply {
        self.observed.stats.borrow().refusals.reply(count, self.observed.now_micros())
    }
}

/// Who tries to authenticate, and by which command.
pub(super) struct LoginAttempt {
    user: Vec<u8>,
    command: &'static str,
}

pub(super) fn login_of(command: &SessionCommand<'_>) -> Option<LoginAttempt> {
    let (login, command) = match command {
        SessionCommand::Auth(login) => (login, "AUTH"),
        SessionCommand::Hello { login: Some(login), .. } => (login, "HELLO"),
        _ => return None,
    };
    Some(LoginAttempt { user: login.user.unwrap_or(DEFAULT_USER).to_vec(), command })
}

/// Returns true for `EXEC`, which ends the transaction also if the client may not give it.
pub(super) fn is_exec(parsed: &Result<Command<'_>, Reply>) -> bool {
    matches!(parsed, Ok(Command::Transaction(TransactionCommand::Exec)))
}
