//! The users of a store and what each may do. They are part of the state of the first shard.
//!
//! A rule about commands is kept as its words, so that it means the same to a program that knows more commands.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use super::digest::digest;
use super::snapshot::{RestoreError, read_bytes, read_count, write_bytes};

mod grant;

pub use grant::{CommandRule, Grant, KeyPattern};

/// The hash of a password: SHA-256.
pub type PasswordHash = [u8; 32];

/// The name of the user that a connection has at first.
pub const DEFAULT_USER: &[u8] = b"default";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// It may authenticate.
    pub is_on: bool,
    /// Any password is right.
    pub takes_any_password: bool,
    /// The hashes of its passwords, in the order in which they were added.
    pub passwords: Vec<PasswordHash>,
    /// Whether it was said that values of `RESTORE` are checked for this user, which they always are.
    pub sanitizes: Option<bool>,
    /// What it may do: whatever one of these allows. There is one at least, which the others follow in parentheses.
    pub grants: Vec<Grant>,
}

/// Users by name.
#[derive(Debug, Clone, Default)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    bytes: usize,
}

/// Reason why a user was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the users would take up more than 1 MiB")]
pub struct TooManyUsers;

/// The user of a store in which nobody has changed it: it may do everything without a password.
static OPEN: LazyLock<Arc<User>> = LazyLock::new(|| {
    let everything = Grant::everything();
    Arc::new(User { is_on: true, takes_any_password: true, grants: vec![everything], ..User::default() })
});

impl User {
    /// A user that may do nothing, and may not authenticate.
    pub fn new() -> Self {
        Self { grants: vec![Grant::default()], ..Self::default() }
    }

    /// Returns true if the user may do everything.
    pub fn is_unrestricted(&self) -> bool {
        self.grants.first().is_some_and(Grant::is_everything)
    }

    /// Returns true if somebody with this password may act as the user.
    pub fn admits(&self, password: &PasswordHash) -> bool {
        // Compared to the end, so that the time says nothing.
        let is_same =
            |known: &PasswordHash| known.iter().zip(password).fold(0, |sum, (one, two)| sum | (one ^ two)) == 0;
        let is_known = self.passwords.iter().fold(false, |found, known| found | is_same(known));
        self.is_on && (self.takes_any_password || is_known)
    }

    /// What the user may do, as bytes for [`grants_from`](Self::grants_from). Empty if it may do everything.
    pub fn encoded_grants(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.is_unrestricted() {
            grant::write_all(&mut bytes, &self.grants).expect("a vector takes all bytes");
        }
        bytes
    }

    /// A user who may do what the bytes of [`encoded_grants`](Self::encoded_grants) tell.
    ///
    /// # Errors
    /// When they are other bytes.
    pub fn grants_from(mut bytes: &[u8]) -> Result<Self, RestoreError> {
        let grants = grant::read_all(&mut bytes)?;
        if grants.is_empty() || !bytes.is_empty() {
            return Err(RestoreError::Malformed);
        }
        Ok(Self { grants, ..Self::default() })
    }

    fn bytes(&self) -> usize {
        let grants: usize = self.grants.iter().map(Grant::bytes).sum();
        USER_BYTES + self.passwords.len() * size_of::<PasswordHash>() + grants
    }

    fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let sanitizes = self.sanitizes.map_or(0, |sanitizes| 1 + u8::from(sanitizes));
        writer.write_all(&[u8::from(self.is_on), u8::from(self.takes_any_password), sanitizes])?;
        write_count(writer, self.passwords.len())?;
        self.passwords.iter().try_for_each(|password| writer.write_all(password))?;
        grant::write_all(writer, &self.grants)
    }

    fn read(reader: &mut impl Read) -> Result<Self, RestoreError> {
        let mut flags = [0; 3];
        reader.read_exact(&mut flags)?;
        let (is_on, takes_any_password) = (flags[0] != 0, flags[1] != 0);
        let sanitizes = flags[2].checked_sub(1).map(|sanitizes| sanitizes != 0);
        let mut passwords = Vec::new();
        for _ in 0..read_count(reader)? {
            let mut password = [0; 32];
            reader.read_exact(&mut password)?;
            passwords.push(password);
        }
        let grants = grant::read_all(reader)?;
        if grants.is_empty() {
            return Err(RestoreError::Malformed);
        }
        Ok(Self { is_on, takes_any_password, passwords, sanitizes, grants })
    }
}

impl Users {
    /// The user of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name).or_else(|| (name == DEFAULT_USER).then_some(&*OPEN))
    }

    /// Returns true if nobody has changed the user `default`.
    pub fn is_default_untouched(&self) -> bool {
        !self.by_name.contains_key(DEFAULT_USER)
    }

    /// These users, with this password for the user `default` if nobody has changed it.
    #[must_use]
    pub fn with_first_password(&self, password: Option<&PasswordHash>) -> Self {
        let mut users = self.clone();
        if let Some(password) = password.filter(|_| self.is_default_untouched()) {
            let user = User { takes_any_password: false, passwords: vec![*password], ..(**OPEN).clone() };
            users.by_name.insert(DEFAULT_USER.into(), Arc::new(user));
        }
        users
    }

    /// All users, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &User)> {
        let open = self.is_default_untouched().then(|| (DEFAULT_USER, &**OPEN));
        let known = |range| self.by_name.range::<[u8], _>(range).map(|(name, user)| (&**name, &**user));
        let before = known((Bound::Unbounded, Bound::Excluded(DEFAULT_USER)));
        before.chain(open).chain(known((Bound::Included(DEFAULT_USER), Bound::Unbounded)))
    }

    /// Adds a user, or puts it in the place of the one of its name.
    ///
    /// # Errors
    /// When the users would take up too much. Nothing was changed.
    pub fn put(&mut self, name: &[u8], user: User) -> Result<(), TooManyUsers> {
        let before = self.by_name.get(name).map_or(0, |known| name.len() + known.bytes());
        let bytes = self.bytes - before + name.len() + user.bytes();
        if bytes > USERS_BYTES_MAX {
            return Err(TooManyUsers);
        }
        self.bytes = bytes;
        self.by_name.insert(name.into(), Arc::new(user));
        Ok(())
    }

    /// Removes a user. Returns false if there was none of this name.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.by_name.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |user| name.len() + user.bytes());
        removed.is_some()
    }

    /// 0 if nobody has changed a user.
    pub(super) fn digest(&self) -> u64 {
        if self.by_name.is_empty() {
            return 0;
        }
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("a vector takes all bytes");
        digest(&bytes)
    }

    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        write_count(writer, self.by_name.len())?;
        for (name, user) in &self.by_name {
            write_bytes(writer, name)?;
            user.write(writer)?;
        }
        Ok(())
    }

    pub(super) fn read(reader: &mut impl Read) -> Result<Self, RestoreError> {
        let mut users = Self::default();
        for _ in 0..read_count(reader)? {
            let name = read_bytes(reader)?;
            users.put(&name, User::read(reader)?).map_err(|_| RestoreError::Malformed)?;
        }
        Ok(users)
    }
}

fn write_count(writer: &mut impl Write, count: usize) -> io::Result<()> {
    writer.write_all(&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes())
}

/// Maximum bytes of all users. Every node has them in its memory, and looks through a user's rules at each command.
const USERS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a user besides its rules.
const USER_BYTES: usize = 128;

#[cfg(test)]
mod tests;
