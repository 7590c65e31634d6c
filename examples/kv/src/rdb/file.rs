//! Files as Redis's `SAVE` writes them.

use std::io::{self, Read, Write};

use super::crc64::crc64;
use super::source::Source;
use super::write::{put_length, put_record, put_text, put_value};
use super::{Content, Limits, RdbError, VERSION_READ_MAX, VERSION_WRITTEN, kind, read};
use crate::store::Record;

/// A file that is read part by part, in the order in which it was written.
#[derive(Debug)]
pub struct RdbFile<R> {
    source: Source<R>,
    version: u16,
    deadline: Option<u64>,
    is_over: bool,
}

/// A part of a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Part {
    /// What the server that wrote the file says about itself.
    About {
        /// The name of the fact.
        name: Vec<u8>,
        /// The fact.
        value: Vec<u8>,
    },
    /// The keys that follow are in this database.
    Database(u64),
    /// The number of keys of the database, as a hint.
    Keys(u64),
    /// The text of a library of functions.
    Function(Vec<u8>),
    /// What a module wrote that is no key. It was passed over.
    Module(String),
    /// A key.
    Key {
        /// The key.
        key: Vec<u8>,
        /// Wall clock in Unix ms from which on it does not exist.
        deadline: Option<u64>,
        /// Its value.
        content: Content,
    },
}

impl<R: Read> RdbFile<R> {
    /// Begins to read a file of `length` bytes.
    ///
    /// # Errors
    /// When it does not begin as a file of a known version.
    pub fn open(reader: R, length: u64, limits: Limits) -> Result<Self, RdbError> {
        let mut source = Source::new(reader, length, limits);
        let head: [u8; 9] = source.array().map_err(|error| match error {
            RdbError::Truncated { .. } => RdbError::Foreign,
            other => other,
        })?;
        let digits = head.strip_prefix(b"REDIS").filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let digits = digits.ok_or(RdbError::Foreign)?;
        let version = digits.iter().fold(0, |version, digit| version * 10 + u16::from(digit - b'0'));
        if !(1..=VERSION_READ_MAX).contains(&version) {
            return Err(RdbError::Version(version));
        }
        Ok(Self { source, version, deadline: None, is_over: false })
    }

    /// Number of bytes that were read.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The next part. `None` at the end of a file that is whole.
    ///
    /// # Errors
    /// When the bytes are not what Redis writes. What was read before was whole, unless the sum at the end differs.
    pub fn next_part(&mut self) -> Result<Option<Part>, RdbError> {
        while !self.is_over {
            let offset = self.source.offset();
            let source = &mut self.source;
            source.begin_value();
            match source.byte()? {
                END => self.end()?,
                DATABASE => return source.length().map(|number| Some(Part::Database(number))),
                DEADLINE_MS => self.deadline = Some(u64::from_le_bytes(source.array()?)),
                DEADLINE_SECONDS => {
                    self.deadline = Some(u64::from(u32::from_le_bytes(source.array()?)) * 1000);
                }
                ABOUT => return Ok(Some(Part::About { name: source.text()?, value: source.text()? })),
                SIZES => {
                    let keys = source.length()?;
                    source.length()?;
                    return Ok(Some(Part::Keys(keys)));
                }
                FREQUENCY => drop(source.byte()?),
                IDLE => drop(source.length()?),
                SLOT => (0..3).try_for_each(|_| source.length().map(drop))?,
                FUNCTION => return source.text().map(|code| Some(Part::Function(code))),
                MODULE => return module(source).map(|name| Some(Part::Module(name))),
                code @ FUNCTION_BEFORE_RELEASE => {
                    return Err(RdbError::Unknown { offset, what: "form of functions", code });
                }
                kind => {
                    let key = source.text()?;
                    let content = read::content(source, kind).map_err(|error| at_kind(error, offset))?;
                    return Ok(Some(Part::Key { key, deadline: self.deadline.take(), content }));
                }
            }
        }
        Ok(None)
    }

    /// Compares the sum at the end, which files of old versions do not have, and which is 0 if it was not computed.
    fn end(&mut self) -> Result<(), RdbError> {
        self.is_over = true;
        if self.version >= SUM_SINCE {
            let computed = self.source.sum();
            let found = u64::from_le_bytes(self.source.array()?);
            if found != 0 && found != computed {
                return Err(RdbError::Checksum { found, computed });
            }
        }
        Ok(())
    }
}

/// The kind stands before the key.
fn at_kind(error: RdbError, offset: u64) -> RdbError {
    match error {
        RdbError::Unknown { what, code, .. } if what == read::KIND => RdbError::Unknown { offset, what, code },
        other => other,
    }
}

fn module<R: Read>(source: &mut Source<R>) -> Result<String, RdbError> {
    let id = source.length()?;
    // When it is to be loaded: an opcode and a number.
    source.length()?;
    source.length()?;
    read::skip_module(source)?;
    Ok(read::module_name(id))
}

/// A file that is being written.
#[derive(Debug)]
pub struct RdbWriter<W> {
    writer: W,
    sum: u64,
    room: Vec<u8>,
}

impl<W: Write> RdbWriter<W> {
    /// Begins a file. `about` are facts about the program that writes it.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn new(writer: W, about: &[(&str, &str)]) -> io::Result<Self> {
        let mut file = Self { writer, sum: 0, room: format!("REDIS{VERSION_WRITTEN:04}").into_bytes() };
        for (name, value) in about {
            file.about(name, value.as_bytes())?;
        }
        file.flush_room()?;
        Ok(file)
    }

    /// Adds a fact. All come before the first key.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn about(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        self.room.push(ABOUT);
        put_text(&mut self.room, name.as_bytes());
        put_text(&mut self.room, value);
        self.flush_room()
    }

    /// Adds a library of functions. All come before the first key.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.room.push(FUNCTION);
        put_text(&mut self.room, code);
        self.flush_room()
    }

    /// Begins the keys of a database, of which there are about so many.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn database(&mut self, number: u64, keys: u64) -> io::Result<()> {
        self.room.push(DATABASE);
        put_length(&mut self.room, number);
        self.room.push(SIZES);
        put_length(&mut self.room, keys);
        put_length(&mut self.room, 0);
        self.flush_room()
    }

    /// Adds a key with a value in the form of [`value_of_dump`](super::value_of_dump), and with its deadline in Unix
    /// ms.
    ///
    /// # Errors
    /// Errors of the writer.
    ///
    /// # Panics
    /// When the value is empty.
    pub fn key(&mut self, key: &[u8], deadline: Option<u64>, value: &[u8]) -> io::Result<()> {
        let (kind, value) = value.split_first().expect("a value has a kind");
        self.put_head(key, deadline, *kind);
        self.flush_room()?;
        self.put(value)
    }

    /// Adds a key with its value and its deadline.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut value = Vec::new();
        put_record(&mut value, record);
        self.key(record.key(), record.deadline(), &value)
    }

    /// Adds a key with a value from memory, and with its deadline in Unix ms.
    ///
    /// # Errors
    /// Errors of the writer.
    ///
    /// # Panics
    /// When the value is [`Content::Unknown`].
    pub fn content(&mut self, key: &[u8], deadline: Option<u64>, content: &Content) -> io::Result<()> {
        let mut value = Vec::new();
        match content {
            Content::Text(text) => {
                value.push(kind::STRING);
                put_text(&mut value, text);
            }
            Content::Items(items) => put_value(&mut value, items),
            Content::Unknown(what) => panic!("{what} cannot be written"),
        }
        self.key(key, deadline, &value)
    }

    /// Ends the file and returns the writer.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&[END])?;
        let sum = self.sum;
        self.writer.write_all(&sum.to_le_bytes())?;
        Ok(self.writer)
    }

    fn put_head(&mut self, key: &[u8], deadline: Option<u64>, kind: u8) {
        if let Some(deadline) = deadline {
            self.room.push(DEADLINE_MS);
            self.room.extend_from_slice(&deadline.to_le_bytes());
        }
        self.room.push(kind);
        put_text(&mut self.room, key);
    }

    fn flush_room(&mut self) -> io::Result<()> {
        let room = std::mem::take(&mut self.room);
        let put = self.put(&room);
        self.room = room;
        self.room.clear();
        put
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = crc64(self.sum, bytes);
        self.writer.write_all(bytes)
    }
}

/// Individual slots of a cluster (Redis 7.4): three numbers.
const SLOT: u8 = 244;
/// A library of functions.
pub(super) const FUNCTION: u8 = 245;
/// A library in the form of a version that was not released.
pub(super) const FUNCTION_BEFORE_RELEASE: u8 = 246;
/// What a module has besides keys.
const MODULE: u8 = 247;
/// Seconds since the next key was used.
const IDLE: u8 = 248;
/// How often the next key is used.
const FREQUENCY: u8 = 249;
/// A fact about the writer.
const ABOUT: u8 = 250;
/// The number of keys, and of those with deadlines.
const SIZES: u8 = 251;
const DEADLINE_MS: u8 = 252;
const DEADLINE_SECONDS: u8 = 253;
const DATABASE: u8 = 254;
const END: u8 = 255;
/// The first version with a sum at the end.
const SUM_SINCE: u16 = 5;
