//! twemproxy: a pool of a YAML file, in the form of its documentation.

use quorate_consistent_hash::compat::{Partitions, RingSystem, Server, TwemproxyRing};

use super::file::{File, ring, whole_weight};
use crate::algorithm::{Built, hash_tag, memcached_hash};
use crate::error::Failure;

#[derive(Default)]
struct Pool {
    settings: TwemproxyRing,
    distribution: Option<String>,
    servers: Vec<Server>,
}

pub(super) fn read(file: &File<'_>) -> Result<Built, Failure> {
    let mut pools: Vec<(String, Pool)> = Vec::new();
    for (line, text) in file.lines()? {
        let fail = |reason: String| file.fail(line, reason);
        let text = without_comment(text);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            continue;
        }
        if !text.starts_with([' ', '\t', '-']) {
            let name = trimmed.strip_suffix(':').ok_or_else(|| fail("this is not the name of a pool".into()))?;
            pools.push((name.into(), Pool::default()));
            continue;
        }
        let Some((_, pool)) = pools.last_mut() else { return Err(fail("this stands before the first pool".into())) };
        if let Some(entry) = trimmed.strip_prefix('-') {
            pool.servers.push(server(unquoted(entry.trim())).map_err(fail)?);
            continue;
        }
        let (key, value) = trimmed.split_once(':').ok_or_else(|| fail(format!("{trimmed:?} is not a setting")))?;
        let value = unquoted(value.trim());
        match key.trim() {
            "hash" => pool.settings.hash = memcached_hash(value).map_err(fail)?,
            "hash_tag" => pool.settings.hash_tag = Some(hash_tag(value).map_err(fail)?),
            "distribution" => match value {
                "ketama" | "modula" => pool.distribution = Some(value.into()),
                other => return Err(fail(format!("the distribution {other:?} places no key for certain"))),
            },
            _ => {}
        }
    }
    let pool = file.only("pool", pools)?;
    if pool.distribution.as_deref() == Some("modula") {
        return Ok(Built::Partitions(Partitions::twemproxy(&pool.servers, pool.settings)?));
    }
    ring((RingSystem::Twemproxy(pool.settings), pool.servers))
}

/// `host:port:weight [name]` or `/path:weight [name]`.
fn server(entry: &str) -> Result<Server, String> {
    let (address, name) = match entry.split_once(char::is_whitespace) {
        Some((address, name)) => (address, Some(name.trim())),
        None => (entry, None),
    };
    let (address, weight) = address.rsplit_once(':').ok_or_else(|| format!("{entry:?} has no weight"))?;
    let weight = whole_weight(weight)?;
    if weight.is_none() {
        return Err("twemproxy takes no weight of zero".into());
    }
    if !address.starts_with('/') && !address.contains(':') {
        return Err(format!("{entry:?} has no port"));
    }
    Ok(Server { weight, hashed: name.map(Into::into), ..Server::new(name.unwrap_or(address)) })
}

fn without_comment(text: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        if letter == '#' && !quoted && matches!(before, ' ' | '\t') {
            return &text[..at];
        }
        quoted ^= matches!(letter, '"' | '\'');
        before = letter;
    }
    text
}

fn unquoted(text: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}
