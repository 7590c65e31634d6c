//! nginx: `upstream NAME { hash KEY consistent; server ADDRESS weight=N; }`.

use quorate_consistent_hash::compat::{RingSystem, Server};

use super::file::{File, SystemRing, whole_weight};
use crate::error::Failure;

/// A word of the configuration with the number of its line; `{`, `}` and `;` are words of their own.
type Word = (usize, String);

#[derive(Default)]
struct Upstream {
    consistent: bool,
    servers: Vec<Server>,
}

pub(super) fn read(file: &File<'_>) -> Result<SystemRing, Failure> {
    let words = words(file)?;
    let mut upstreams = Vec::new();
    let mut rest = words.as_slice();
    while let Some(((_, word), after)) = rest.split_first() {
        rest = after;
        if let ("upstream", [(_, name), (_, open), body @ ..]) = (word.as_str(), after)
            && open == "{"
        {
            let (upstream, after) = upstream(file, body)?;
            upstreams.push((name.clone(), upstream));
            rest = after;
        }
    }
    let upstream = file.only("upstream", upstreams)?;
    if !upstream.consistent {
        return Err(file.refuse("the upstream has no `hash KEY consistent`, which alone places on a ring"));
    }
    Ok((RingSystem::Nginx, upstream.servers))
}

/// Reads up to the closing brace, and returns the words behind it.
fn upstream<'w>(file: &File<'_>, mut words: &'w [Word]) -> Result<(Upstream, &'w [Word]), Failure> {
    let mut upstream = Upstream::default();
    loop {
        let Some(((line, first), _)) = words.split_first() else {
            return Err(file.refuse("the upstream has no end"));
        };
        if first == "}" {
            return Ok((upstream, &words[1..]));
        }
        let Some(end) = words.iter().position(|(_, word)| word == ";") else {
            return Err(file.fail(*line, format!("the directive {first:?} has no end")));
        };
        let (directive, after) = words.split_at(end);
        words = &after[1..];
        let Some((_, arguments)) = directive.split_first() else {
            return Err(file.fail(*line, "a directive is missing before a semicolon"));
        };
        let arguments: Vec<&str> = arguments.iter().map(|(_, word)| word.as_str()).collect();
        match (first.as_str(), &arguments[..]) {
            // The last method counts.
            ("hash", [_, "consistent"]) => upstream.consistent = true,
            ("hash" | "ip_hash" | "least_conn" | "random", _) => upstream.consistent = false,
            ("server", [name, parameters @ ..]) => {
                let server = server(name, parameters).map_err(|reason| file.fail(*line, reason))?;
                upstream.servers.extend(server);
            }
            ("server", []) => return Err(file.fail(*line, "a server has no address")),
            _ => {}
        }
    }
}

/// A server. `None` for a backup, which is not on the ring.
fn server(name: &str, parameters: &[&str]) -> Result<Option<Server>, String> {
    let mut server = Server::new(name);
    for parameter in parameters {
        match parameter.split_once('=') {
            Some(("weight", weight)) => {
                server.weight = whole_weight(weight)?;
                if server.weight.is_none() {
                    return Err("nginx takes no weight of zero".into());
                }
            }
            None if *parameter == "backup" => return Ok(None),
            // A server that is down keeps its place. That its keys go to the next one does not concern placement.
            _ => {}
        }
    }
    Ok(Some(server))
}

fn words(file: &File<'_>) -> Result<Vec<Word>, Failure> {
    let mut words = Vec::new();
    for (line, text) in file.lines()? {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '#' => break,
                '{' | '}' | ';' => 1,
                '"' | '\'' => match rest[1..].find(first) {
                    Some(end) => end + 2,
                    None => return Err(file.fail(line, "a quote has no end on its line")),
                },
                // A brace within a word belongs to a variable, `${name}`.
                _ => {
                    let ends = |(at, letter): (usize, char)| {
                        letter.is_whitespace() || letter == ';' || (letter == '{' && !rest[..at].ends_with('$'))
                    };
                    rest.char_indices().find(|&place| ends(place)).map_or(rest.len(), |(at, _)| at)
                }
            };
            let (word, after) = rest.split_at(length);
            words.push((line, word.trim_matches(['"', '\'']).to_owned()));
            rest = after.trim_start();
        }
    }
    Ok(words)
}
