//! `ACL`: the users of the store and what each may do.
//!
//! Users are changed by entries of the log of the first shard. Each node has a copy of them, by which it checks the
//! commands of its clients and answers questions about users.

use crate::resp::{Encoder, Reply};
use crate::store::{DEFAULT_USER, Grant, KeyPattern, User, Users};

use super::context::Change;
use super::errors::{integer, is, unknown_subcommand, wrong_arity};
use super::spec::{self, Keys, Spec};

pub(super) mod categories;
mod check;
mod rules;

pub use check::{Denied, check, is_free, may_listen};
pub use rules::hash_password;

pub(super) const COMMANDS: &[Spec] = &[Spec::write("acl", -2, Keys::None, change_users)
    .flags(&["admin", "noscript", "loading", "stale"])
    .container()
    .long()
    .about("server", "Tells or changes the users and what each may do.")];

/// A command about users. Texts are the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AclCommand<'a> {
    /// Changes the users by an entry of the log.
    Change,
    WhoAmI,
    List,
    Users,
    GetUser(&'a [u8]),
    DryRun {
        user: &'a [u8],
        request: Vec<&'a [u8]>,
    },
    /// Tells of this number of the newest refusals.
    Log(usize),
    ResetLog,
    /// A password of this number of bits.
    GeneratePassword(usize),
    /// A fixed reply.
    Constant(Reply),
}

/// The subcommands with their arities, the subcommand being the first argument.
const SUBCOMMANDS: &[(&str, i64)] = &[
    ("cat", -1),
    ("deluser", -2),
    ("dryrun", -3),
    ("genpass", -1),
    ("getuser", 2),
    ("help", 1),
    ("list", 1),
    ("load", 1),
    ("log", -1),
    ("save", 1),
    ("setuser", -2),
    ("users", 1),
    ("whoami", 1),
];

impl<'a> AclCommand<'a> {
    pub(super) fn parse(rest: &[&'a [u8]]) -> Result<Self, Reply> {
        let (name, rest) = (rest[0], &rest[1..]);
        let known = SUBCOMMANDS.iter().find(|(known, _)| is(name, known));
        let (known, arity) = known.ok_or_else(|| unknown_subcommand("acl", name))?;
        if !spec::takes(*arity, 1 + rest.len()) {
            return Err(wrong_arity(&format!("acl|{known}")));
        }
        Ok(match (*known, rest) {
            ("setuser" | "deluser", _) => Self::Change,
            ("whoami", _) => Self::WhoAmI,
            ("list", _) => Self::List,
            ("users", _) => Self::Users,
            ("getuser", _) => Self::GetUser(rest[0]),
            ("dryrun", _) => Self::DryRun { user: rest[0], request: rest[1..].to_vec() },
            ("cat", []) => Self::Constant(names(categories::categories())),
            ("cat", [category]) => Self::Constant(category_members(category)?),
            ("genpass", []) => Self::GeneratePassword(GENERATED_BITS),
            ("genpass", [bits]) => Self::GeneratePassword(password_bits(bits)?),
            ("log", []) => Self::Log(REFUSALS_SHOWN),
            ("log", [word]) if is(word, "reset") => Self::ResetLog,
            ("log", [count]) => Self::Log(usize::try_from(integer(count)?).unwrap_or(0)),
            ("load" | "save", _) => return Err(Reply::error(NO_FILE)),
            ("help", _) => Self::Constant(names(HELP.iter().copied())),
            _ => {
                let start = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
                return Err(Reply::Error([start, name, b"'. Try ACL HELP."].concat()));
            }
        })
    }

    /// Answers a question about users, which `own` asks. `None` if it is about something else.
    pub fn answer(&self, users: &Users, own: &[u8]) -> Option<Reply> {
        Some(match self {
            Self::WhoAmI => bytes(own.to_vec()),
            Self::List => Reply::Array(users.iter().map(|(name, user)| bytes(line(name, user))).collect()),
            Self::Users => Reply::Array(users.iter().map(|(name, _)| bytes(name.to_vec())).collect()),
            Self::GetUser(name) => users.get(name).map_or(Reply::Null, |user| describe(user)),
            Self::DryRun { user, request } => dry_run(users, user, request).unwrap_or_else(|error| error),
            Self::Constant(reply) => reply.clone(),
            _ => return None,
        })
    }
}

/// The arguments of `ACL SETUSER` or `ACL DELUSER` as the log has them: without passwords, and with the first password
/// of the user `default` if it counts.
pub fn rewrite(arguments: &[&[u8]], users: &Users, known: &Users) -> Vec<Vec<u8>> {
    let mut rewritten: Vec<Vec<u8>> = arguments.iter().take(3).map(|argument| argument.to_vec()).collect();
    let words = arguments.get(3..).unwrap_or_default();
    if !is(arguments[1], "setuser") {
        rewritten.extend(words.iter().map(|word| word.to_vec()));
        return rewritten;
    }
    if arguments[2] == b"default" && known.is_default_untouched() {
        let passwords = users.get(arguments[2]).map(|user| user.passwords.clone()).unwrap_or_default();
        rewritten.extend(passwords.iter().map(|hash| format!("#{}", rules::hex(hash)).into_bytes()));
    }
    rewritten.extend(rules::hide_passwords(words));
    rewritten
}

/// In an entry of the log.
fn change_users(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Result<(), Reply> {
    match rest {
        [name, user, words @ ..] if is(name, "setuser") => {
            if user.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
                return Err(Reply::error("ERR Usernames can't contain spaces or null characters"));
            }
            let known = change.store.users().get(user).map_or_else(User::new, |known| (**known).clone());
            let changed = rules::change(&known, words)?;
            change.store.users_mut().put(user, changed).map_err(|error| Reply::error(format!("ERR {error}")))?;
            out.status("OK");
        }
        [name, users @ ..] if is(name, "deluser") => {
            if users.iter().any(|user| **user == *b"default") {
                return Err(Reply::error("ERR The 'default' user cannot be removed"));
            }
            let all = change.store.users_mut();
            let removed = users.iter().filter(|user| all.remove(user)).count();
            out.integer(super::errors::number(removed));
        }
        _ => return Err(unknown_subcommand("acl", rest[0])),
    }
    Ok(())
}

fn bytes(text: Vec<u8>) -> Reply {
    Reply::Bulk(text.into())
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Reply {
    Reply::Array(names.map(Reply::bulk).collect())
}

fn category_members(category: &[u8]) -> Result<Reply, Reply> {
    let known = categories::categories().find(|known| is(category, known));
    let known = known.ok_or_else(|| Reply::Error([b"ERR Unknown category '", category, b"'"].concat()))?;
    Ok(names(categories::members(known).iter().map(String::as_str)))
}

fn password_bits(text: &[u8]) -> Result<usize, Reply> {
    let bits = integer(text)?;
    let within = usize::try_from(bits).ok().filter(|bits| (1..=GENERATED_BITS_MAX).contains(bits));
    within.ok_or_else(|| {
        Reply::error(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        )
    })
}

/// A password of random digits that nobody can guess.
pub fn generate_password(bits: usize) -> Reply {
    let digits = bits.div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    match getrandom::fill(&mut bytes) {
        Ok(()) => {
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Reply::bulk(&text[..digits])
        }
        Err(error) => Reply::error(format!("ERR the system has no random numbers: {error}")),
    }
}

fn dry_run(users: &Users, user: &[u8], request: &[&[u8]]) -> Result<Reply, Reply> {
    let no_user = || Reply::Error([b"ERR User '", user, b"' not found"].concat());
    let user = users.get(user).ok_or_else(no_user)?;
    let no_command = || Reply::Error([b"ERR Command '", request[0], b"' not found"].concat());
    let spec = Spec::find(request[0]).ok_or_else(no_command)?;
    if !spec.takes(request.len()) {
        return Err(wrong_arity(spec.name));
    }
    if spec.is_container && !categories::is_known(&spec.full_name(request)) {
        return Err(no_command());
    }
    Ok(check(user, spec, request).map_or_else(|denied| bytes(denied.dry_run()), |()| Reply::OK))
}

/// The users that somebody has made or changed, each as a line of `ACL LIST`.
pub fn user_lines(users: &Users) -> Vec<Vec<u8>> {
    let is_made = |name: &[u8]| name != DEFAULT_USER || !users.is_default_untouched();
    users.iter().filter(|(name, _)| is_made(name)).map(|(name, user)| line(name, user)).collect()
}

/// The name and the words after it of such a line. `None` if it is none.
pub fn user_of_line(line: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut words = line.split(|byte| *byte == b' ').map(<[u8]>::to_vec);
    if words.next()? != b"user" {
        return None;
    }
    Some((words.next().filter(|name| !name.is_empty())?, words.collect()))
}

/// A user as a line of `ACL LIST`.
fn line(name: &[u8], user: &User) -> Vec<u8> {
    let mut line = [b"user ", name].concat();
    let mut add = |word: &[u8]| {
        line.push(b' ');
        line.extend_from_slice(word);
    };
    for flag in flags(user) {
        add(flag.as_bytes());
    }
    user.passwords.iter().for_each(|hash| add(format!("#{}", rules::hex(hash)).as_bytes()));
    for (place, grant) in user.grants.iter().enumerate() {
        let text = words(grant);
        if place == 0 { add(&text) } else { add(&[b"(", &text[..], b")"].concat()) }
    }
    line
}

fn flags(user: &User) -> Vec<&'static str> {
    let mut flags = vec![if user.is_on { "on" } else { "off" }];
    if user.takes_any_password {
        flags.push("nopass");
    }
    flags.extend(user.sanitizes.map(|sanitizes| if sanitizes { "sanitize-payload" } else { "skip-sanitize-payload" }));
    flags
}

/// What a grant allows, in the words of `ACL SETUSER`.
fn words(grant: &Grant) -> Vec<u8> {
    let mut words = Vec::new();
    if !grant.keys.is_empty() {
        words.push(key_words(grant));
    }
    if !grant.allows_all_channels() {
        words.push(b"resetchannels".to_vec());
    }
    if !grant.channels.is_empty() {
        words.push(channel_words(grant));
    }
    words.push(command_words(grant).into_bytes());
    words.join(&b' ')
}

fn key_words(grant: &Grant) -> Vec<u8> {
    let word = |key: &KeyPattern| {
        let sign: &[u8] = match (key.reads, key.writes) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            _ => b"%W~",
        };
        [sign, &key.pattern].concat()
    };
    grant.keys.iter().map(word).collect::<Vec<_>>().join(&b' ')
}

fn channel_words(grant: &Grant) -> Vec<u8> {
    grant.channels.iter().map(|channel| [b"&", &channel[..]].concat()).collect::<Vec<_>>().join(&b' ')
}

fn command_words(grant: &Grant) -> String {
    let mut words = vec![if grant.allows_others { "+@all".to_owned() } else { "-@all".to_owned() }];
    words.extend(grant.rules.iter().map(|rule| format!("{}{}", if rule.allows { '+' } else { '-' }, rule.name)));
    words.join(" ")
}

/// A user as the reply to `ACL GETUSER`.
fn describe(user: &User) -> Reply {
    let grant = |grant: &Grant| {
        vec![
            (Reply::bulk("commands"), Reply::bulk(command_words(grant))),
            (Reply::bulk("keys"), bytes(key_words(grant))),
            (Reply::bulk("channels"), bytes(channel_words(grant))),
        ]
    };
    let mut fields = vec![
        (Reply::bulk("flags"), Reply::Set(flags(user).into_iter().map(Reply::bulk).collect())),
        (
            Reply::bulk("passwords"),
            Reply::Array(user.passwords.iter().map(|hash| Reply::bulk(rules::hex(hash))).collect()),
        ),
    ];
    fields.extend(user.grants.first().map(grant).unwrap_or_default());
    let selectors = user.grants.iter().skip(1).map(|other| Reply::Map(grant(other))).collect();
    fields.push((Reply::bulk("selectors"), Reply::Array(selectors)));
    Reply::Map(fields)
}

const HELP: &[&str] = &[
    "ACL <subcommand> [<argument> ...]. Subcommands are:",
    "CAT [<category>]: the categories, or the commands of one.",
    "DELUSER <user> [<user> ...]: removes users, and closes their connections.",
    "DRYRUN <user> <command> [<argument> ...]: whether a user may give a command.",
    "GENPASS [<bits>]: a password that nobody can guess.",
    "GETUSER <user>: what a user may do.",
    "LIST: all users, each as the words that make it.",
    "LOG [<count> | RESET]: what clients of this node were refused.",
    "SETUSER <user> [<word> ...]: makes or changes a user.",
    "USERS: the names of all users.",
    "WHOAMI: the user of this connection.",
];
const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
    the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order \
    to store users in the Redis configuration.";
const GENERATED_BITS: usize = 256;
const GENERATED_BITS_MAX: usize = 4096;
/// Number of refusals that `ACL LOG` shows unless it is told.
const REFUSALS_SHOWN: usize = 10;

#[cfg(test)]
mod tests;
