//! The words of `ACL SETUSER`. Texts of errors are Redis's.

use sha2::{Digest, Sha256};

use crate::command::errors::is;
use crate::resp::Reply;
use crate::store::{Grant, KeyPattern, PasswordHash, User};

use super::categories;

/// The hash of a password as a user keeps it.
pub fn hash_password(password: &[u8]) -> PasswordHash {
    Sha256::digest(password).into()
}

/// A hash in hexadecimal digits.
pub(super) fn hex(hash: &PasswordHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same words with hashes in the place of passwords, so that no password gets into the log.
pub(super) fn hide_passwords(words: &[&[u8]]) -> Vec<Vec<u8>> {
    let hidden = |sign: &str, password: &[u8]| format!("{sign}{}", hex(&hash_password(password))).into_bytes();
    let word = |word: &&[u8]| match word.split_first() {
        Some((b'>', password)) => hidden("#", password),
        Some((b'<', password)) => hidden("!", password),
        _ => word.to_vec(),
    };
    words.iter().map(word).collect()
}

/// Changes a user by words, all of them or none.
pub(super) fn change(user: &User, words: &[&[u8]]) -> Result<User, Reply> {
    let mut changed = user.clone();
    for word in join_parentheses(words)? {
        change_by(&mut changed, &word).map_err(|reason| {
            Reply::Error([b"ERR Error in ACL SETUSER modifier '", &word[..], b"': ", reason.as_bytes()].concat())
        })?;
    }
    Ok(changed)
}

/// The words, with those within parentheses as one.
fn join_parentheses(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, Reply> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for word in words {
        match &mut open {
            Some(begun) => {
                begun.push(b' ');
                begun.extend_from_slice(word);
            }
            None if word.starts_with(b"(") => open = Some(word.to_vec()),
            None => joined.push(word.to_vec()),
        }
        if open.as_ref().is_some_and(|begun| begun.ends_with(b")")) {
            joined.extend(open.take());
        }
    }
    match open {
        None => Ok(joined),
        Some(begun) => {
            let first = begun.split(|byte| *byte == b' ').next().unwrap_or_default();
            Err(Reply::Error([b"ERR Unmatched parenthesis in acl selector starting at '", first, b"'."].concat()))
        }
    }
}

fn change_by(user: &mut User, word: &[u8]) -> Result<(), &'static str> {
    let flag = |known: &str| is(word, known);
    match word {
        _ if flag("on") => user.is_on = true,
        _ if flag("off") => user.is_on = false,
        _ if flag("nopass") => {
            user.takes_any_password = true;
            user.passwords.clear();
        }
        _ if flag("resetpass") => {
            user.takes_any_password = false;
            user.passwords.clear();
        }
        _ if flag("sanitize-payload") => user.sanitizes = Some(true),
        _ if flag("skip-sanitize-payload") => user.sanitizes = Some(false),
        _ if flag("clearselectors") => user.grants.truncate(1),
        _ if flag("reset") => *user = User { sanitizes: Some(true), ..User::new() },
        [b'#', hash @ ..] => {
            let hash = read_hash(hash).ok_or(NO_HASH)?;
            user.takes_any_password = false;
            if !user.passwords.contains(&hash) {
                user.passwords.push(hash);
            }
        }
        [b'!', hash @ ..] => {
            let hash = read_hash(hash).ok_or(NO_HASH)?;
            let place = user.passwords.iter().position(|known| *known == hash);
            user.passwords.remove(place.ok_or("The password you are trying to remove from the user does not exist")?);
        }
        [b'(', inner @ .., b')'] => {
            let mut grant = Grant::default();
            for word in inner.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
                change_grant(&mut grant, word)?;
            }
            user.grants.push(grant);
        }
        word => change_grant(user.grants.first_mut().ok_or(SYNTAX)?, word)?,
    }
    Ok(())
}

fn change_grant(grant: &mut Grant, word: &[u8]) -> Result<(), &'static str> {
    let flag = |known: &str| is(word, known);
    match word {
        _ if flag("allkeys") || word == b"~*" => grant.keys = vec![KeyPattern::all()],
        _ if flag("resetkeys") => grant.keys.clear(),
        _ if flag("allchannels") || word == b"&*" => grant.channels = vec![Box::from(&b"*"[..])],
        _ if flag("resetchannels") => grant.channels.clear(),
        _ if flag("allcommands") || flag("+@all") => grant.set_commands(true),
        _ if flag("nocommands") || flag("-@all") => grant.set_commands(false),
        [b'~', pattern @ ..] => add_keys(grant, pattern, true, true)?,
        [b'%', rest @ ..] => {
            let at = rest.iter().position(|byte| *byte == b'~').ok_or(SYNTAX)?;
            let (flags, pattern) = (&rest[..at], &rest[at + 1..]);
            let has = |flag: u8| flags.iter().any(|byte| byte.eq_ignore_ascii_case(&flag));
            if flags.is_empty() || !flags.iter().all(|byte| matches!(byte, b'R' | b'r' | b'W' | b'w')) {
                return Err(SYNTAX);
            }
            add_keys(grant, pattern, has(b'r'), has(b'w'))?;
        }
        [b'&', pattern @ ..] => {
            if grant.allows_all_channels() {
                return Err(AFTER_ALL_CHANNELS);
            }
            check_pattern(pattern)?;
            if !grant.channels.iter().any(|known| **known == *pattern) {
                grant.channels.push(pattern.into());
            }
        }
        [sign @ (b'+' | b'-'), name @ ..] => {
            let name = std::str::from_utf8(name).map_err(|_| UNKNOWN_COMMAND)?.to_ascii_lowercase();
            if !categories::is_known(&name) {
                return Err(UNKNOWN_COMMAND);
            }
            grant.add_rule(*sign == b'+', &name);
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

fn add_keys(grant: &mut Grant, pattern: &[u8], reads: bool, writes: bool) -> Result<(), &'static str> {
    if grant.allows_all_keys() {
        return Err(AFTER_ALL_KEYS);
    }
    check_pattern(pattern)?;
    match grant.keys.iter_mut().find(|known| *known.pattern == *pattern) {
        Some(known) => (known.reads, known.writes) = (known.reads || reads, known.writes || writes),
        None => grant.keys.push(KeyPattern { pattern: pattern.into(), reads, writes }),
    }
    Ok(())
}

fn check_pattern(pattern: &[u8]) -> Result<(), &'static str> {
    if pattern.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) { Err(SYNTAX) } else { Ok(()) }
}

fn read_hash(digits: &[u8]) -> Option<PasswordHash> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes?.try_into().ok()
}

const SYNTAX: &str = "Syntax error";
const UNKNOWN_COMMAND: &str = "Unknown command or category name in ACL";
const NO_HASH: &str =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
const AFTER_ALL_KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
    have any effect. Try 'resetkeys' to start with an empty list of patterns";
const AFTER_ALL_CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
    does not have any effect. Try 'resetchannels' to start with an empty list of channels";
