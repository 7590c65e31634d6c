//! The whole of an import or an export.

use std::io::BufWriter;
use std::path::Path;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::address::Address;
use crate::command::{REDIS_VERSION, user_of_line};
use crate::credentials::{Credentials, Login};
use crate::new_file::NewFile;
use crate::rdb::{self, Content, RdbWriter};

use super::file::{self, Item, LIMITS};
use super::source::{Dumped, Source};
use super::target::Target;
use super::value::{Unit, unit};
use super::{Progress, Summary, TransferError};

/// Where a Redis is: `redis://[user:password@]host:port[/database]`.
#[derive(Debug, Clone)]
pub struct ServerUrl {
    /// Its address.
    pub address: Address,
    /// The database, 0 unless given.
    pub database: u64,
    /// Who reads.
    pub login: Login,
}

/// Reason why a text is no [`ServerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It has another form.
    #[error("it has the form redis://[user:password@]host:port[/database]")]
    Form,
    /// It asks for encryption.
    #[error("rediss:// is not supported: use a tunnel, or import a file")]
    Encrypted,
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.starts_with("rediss://") {
            return Err(UrlError::Encrypted);
        }
        let rest = text.strip_prefix("redis://").ok_or(UrlError::Form)?;
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => {
                let (user, password) = login.split_once(':').ok_or(UrlError::Form)?;
                let user = Some(user.to_owned()).filter(|user| !user.is_empty());
                (Login { user, password: Some(password.to_owned()) }, rest)
            }
            None => (Login::default(), rest),
        };
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| UrlError::Form)? };
        Ok(Self { address: address.parse().map_err(|_| UrlError::Form)?, database, login })
    }
}

/// Writes the keys of a file into a cluster. The file is read to its end first, so that nothing is written if it is
/// damaged.
///
/// # Errors
/// See [`TransferError`].
pub fn import_file(
    path: &Path,
    database: u64,
    nodes: &[Address],
    credentials: &Credentials,
    report: &mut dyn FnMut(&Progress),
) -> Result<Summary, TransferError> {
    take_file(path, database, Import::new(nodes, credentials, report)).map(|(summary, _)| summary)
}

/// Writes the keys of a file, and returns its users too.
fn take_file(path: &Path, database: u64, mut import: Import<'_>) -> Result<(Summary, Vec<Vec<u8>>), TransferError> {
    let mut keys = 0;
    file::read(path, database, &mut Summary::default(), |item, _| {
        keys += u64::from(matches!(item, Item::Key { .. }));
        Ok(())
    })?;
    let (mut summary, mut users) = (Summary::default(), Vec::new());
    summary.progress.keys_expected = keys;
    file::read(path, database, &mut summary, |item, summary| match item {
        Item::Library(code) => import.library(&code, summary),
        Item::Key { key, deadline, content } => {
            let payload = payload(&content);
            import.key(key, deadline, content, &payload, summary)
        }
        Item::User(line) => {
            users.push(line);
            Ok(())
        }
    })?;
    import.flush(&mut summary)?;
    Ok((summary, users))
}

/// As [`import_file`], of a backup into a cluster without keys. Its users are made too, at last: whoever restores may
/// be one of them.
///
/// # Errors
/// See [`TransferError`]; a cluster that has keys is left as it is.
pub fn restore(
    path: &Path,
    nodes: &[Address],
    credentials: &Credentials,
    report: &mut dyn FnMut(&Progress),
) -> Result<Summary, TransferError> {
    let keys = Target::new(nodes, credentials).count()?;
    if keys > 0 {
        return Err(TransferError::NotEmpty(keys));
    }
    let (mut summary, users) = take_file(path, 0, Import::new(nodes, credentials, report))?;
    let own = credentials.login.user.as_deref().unwrap_or("default").as_bytes();
    let mut users: Vec<_> = users.iter().filter_map(|line| user_of_line(line)).collect();
    users.sort_by_key(|(name, _)| name == own);
    let mut target = Target::new(nodes, credentials);
    for (name, words) in users {
        let start = [&b"ACL"[..], b"SETUSER", &name, b"reset"].map(<[u8]>::to_vec);
        let command = start.into_iter().chain(words).collect();
        let refused = target.write(vec![Unit { key: name, commands: vec![command], bytes: 0, items: None }])?;
        summary.users += u64::from(refused.is_empty());
        for (name, why) in refused {
            summary.refuse(&name, why);
        }
    }
    Ok(summary)
}

/// Writes the keys of a running Redis into a cluster.
///
/// # Errors
/// See [`TransferError`].
pub fn import_from(
    url: &ServerUrl,
    nodes: &[Address],
    credentials: &Credentials,
    report: &mut dyn FnMut(&Progress),
) -> Result<Summary, TransferError> {
    let mut source = Source::open(&url.address, &Credentials { login: url.login.clone(), tls: None }, url.database)?;
    let mut import = Import::new(nodes, credentials, report);
    let mut summary = expect(&mut source, url.database)?;
    for code in libraries(&mut source, &mut summary)? {
        import.library(&code, &mut summary)?;
    }
    source.keys(|Dumped { key, deadline, payload }| {
        let loaded = payload.and_then(|payload| match rdb::load(&payload, LIMITS) {
            Ok(content) => Ok((content, payload)),
            Err(error) => Err(error.to_string()),
        });
        match loaded {
            Ok((content, payload)) => import.key(key, deadline, content, &payload, &mut summary),
            Err(why) => {
                summary.refuse(&key, why);
                Ok(())
            }
        }
    })?;
    import.end(summary)
}

/// Writes the keys of a cluster into a file that Redis loads. It is complete under its name or not there.
///
/// # Errors
/// See [`TransferError`]; a file of this name is not replaced.
pub fn export(
    nodes: &[Address],
    credentials: &Credentials,
    path: &Path,
    report: &mut dyn FnMut(&Progress),
) -> Result<Summary, TransferError> {
    let failed = |error| TransferError::File { path: path.display().to_string(), error };
    let new = NewFile::create(path).map_err(failed)?;
    let mut sources = nodes.iter().map(|node| Source::open(node, credentials, 0));
    let first = sources.next().expect("a cluster has nodes");
    let mut source = sources.fold(first, |found, next| if found.is_ok() { found } else { next })?;
    let mut summary = expect(&mut source, 0)?;
    let about = [("redis-ver", REDIS_VERSION), ("redis-bits", "64"), ("aof-base", "0")];
    let writer = BufWriter::with_capacity(BUFFER_BYTES, new.file());
    let mut file = RdbWriter::new(writer, &about).map_err(failed)?;
    for code in libraries(&mut source, &mut summary)? {
        file.function(&code).map_err(failed)?;
        summary.libraries += 1;
    }
    file.database(0, summary.progress.keys_expected).map_err(failed)?;
    source.keys(|Dumped { key, deadline, payload }| {
        let value = payload
            .and_then(|payload| rdb::value_of_dump(&payload).map(<[u8]>::to_vec).map_err(|error| error.to_string()));
        match value {
            Ok(value) => {
                file.key(&key, deadline, &value).map_err(failed)?;
                summary.progress.keys += 1;
                summary.progress.bytes += value.len() as u64;
                report(&summary.progress);
            }
            Err(why) => summary.refuse(&key, why),
        }
        Ok(())
    })?;
    let writer = file.finish().map_err(failed)?;
    writer.into_inner().map_err(|error| failed(error.into_error()))?;
    new.publish().map_err(failed)?;
    Ok(summary)
}

/// The number of keys to come, and those of other databases.
fn expect(source: &mut Source, database: u64) -> Result<Summary, TransferError> {
    let mut summary = Summary::default();
    for (number, keys) in source.databases()? {
        if number == database {
            summary.progress.keys_expected = keys;
        } else {
            summary.other_databases.insert(number, keys);
        }
    }
    Ok(summary)
}

fn libraries(source: &mut Source, summary: &mut Summary) -> Result<Vec<Vec<u8>>, TransferError> {
    let loaded = source.functions()?.map(|payload| rdb::load_functions(&payload, LIMITS));
    Ok(loaded
        .transpose()
        .unwrap_or_else(|error| {
            summary.refuse(b"FUNCTION DUMP", error.to_string());
            None
        })
        .unwrap_or_default())
}

fn payload(content: &Content) -> Vec<u8> {
    match content {
        Content::Text(text) => text.clone(),
        Content::Items(value) => rdb::dump_value(value),
        Content::Unknown(_) => Vec::new(),
    }
}

/// Keys on their way into a cluster.
struct Import<'a> {
    target: Target<'a>,
    waiting: Vec<Unit>,
    waiting_bytes: u64,
    report: &'a mut dyn FnMut(&Progress),
}

impl<'a> Import<'a> {
    fn new(nodes: &'a [Address], credentials: &'a Credentials, report: &'a mut dyn FnMut(&Progress)) -> Self {
        Self { target: Target::new(nodes, credentials), waiting: Vec::new(), waiting_bytes: 0, report }
    }

    fn library(&mut self, code: &[u8], summary: &mut Summary) -> Result<(), TransferError> {
        let command = [&b"FUNCTION"[..], b"LOAD", b"REPLACE", code].map(<[u8]>::to_vec).to_vec();
        let first_line = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let refused = self.target.write(vec![Unit {
            key: first_line.to_vec(),
            commands: vec![command],
            bytes: 0,
            items: None,
        }])?;
        summary.libraries += u64::from(refused.is_empty());
        for (name, why) in refused {
            summary.refuse(&name, why);
        }
        Ok(())
    }

    fn key(
        &mut self,
        key: Vec<u8>,
        deadline: Option<u64>,
        content: Content,
        payload: &[u8],
        summary: &mut Summary,
    ) -> Result<(), TransferError> {
        if deadline.is_some_and(|deadline| deadline <= now()) {
            summary.expired += 1;
            return Ok(());
        }
        let name = key.clone();
        match unit(key, deadline, content, payload) {
            Ok(unit) => {
                self.waiting_bytes += unit.bytes;
                self.waiting.push(unit);
            }
            Err(why) => summary.refuse(&name, why),
        }
        if self.waiting.len() >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX {
            self.flush(summary)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, summary: &mut Summary) -> Result<(), TransferError> {
        let units = std::mem::take(&mut self.waiting);
        let count = units.len() as u64;
        let refused = self.target.write(units)?;
        summary.progress.keys += count - refused.len() as u64;
        summary.progress.bytes += std::mem::take(&mut self.waiting_bytes);
        for (key, why) in refused {
            summary.refuse(&key, why);
        }
        (self.report)(&summary.progress);
        Ok(())
    }

    fn end(mut self, mut summary: Summary) -> Result<Summary, TransferError> {
        self.flush(&mut summary)?;
        Ok(summary)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bounds of what is sent before the answers are read.
const WAITING_MAX: usize = 512;
const WAITING_BYTES_MAX: u64 = 512 * 1024;
const BUFFER_BYTES: usize = 1024 * 1024;
