//! The libraries of functions that clients loaded. They are part of the state, as scripts are.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::digest::{digest, mix};
use super::snapshot::{RestoreError, read_bytes, read_count, write_bytes};

/// A library of functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its text.
    pub code: Box<[u8]>,
    /// Its functions, in the order of their names.
    pub functions: Vec<LibraryFunction>,
}

/// A function of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFunction {
    /// Its name, which no function of another library has in upper or lower case.
    pub name: Box<str>,
    /// What it is for.
    pub description: Option<Box<[u8]>>,
    /// What it may do, in Redis's words.
    pub flags: Vec<Box<str>>,
}

/// Reason why a library was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// Another library has a function of this name.
    #[error("Function {0} already exists")]
    Function(Box<str>),
    /// The libraries would take up too much.
    #[error("too many libraries are kept: forget some with FUNCTION DELETE")]
    TooMany,
}

/// Libraries by name. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Libraries {
    by_name: BTreeMap<Box<str>, Arc<Library>>,
    bytes: usize,
}

impl Libraries {
    /// The library of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Library>> {
        self.by_name.get(name)
    }

    /// The function of this name, in upper or lower case, and its library.
    pub fn function(&self, name: &str) -> Option<(&Arc<Library>, &LibraryFunction)> {
        self.by_name.values().find_map(|library| Some((library, library.function(name)?)))
    }

    /// All libraries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Library)> {
        self.by_name.iter().map(|(name, library)| (&**name, &**library))
    }

    /// Adds a library, or puts it in the place of the one of its name.
    ///
    /// # Errors
    /// When it may not be kept. Nothing was changed.
    pub fn put(&mut self, name: &str, library: Library) -> Result<(), LibraryError> {
        let others = || self.by_name.iter().filter(|(other, _)| &***other != name);
        for function in &library.functions {
            if others().any(|(_, library)| library.function(&function.name).is_some()) {
                return Err(LibraryError::Function(function.name.clone()));
            }
        }
        let before = self.by_name.get(name).map_or(0, |library| library.bytes());
        let bytes = self.bytes - before + library.bytes();
        if bytes > LIBRARIES_BYTES_MAX {
            return Err(LibraryError::TooMany);
        }
        self.bytes = bytes;
        self.by_name.insert(name.into(), Arc::new(library));
        Ok(())
    }

    /// Removes a library. Returns false if there was none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let removed = self.by_name.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |library| library.bytes());
        removed.is_some()
    }

    /// Removes all libraries.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Number of libraries.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// 0 without libraries. What a library has follows from its text.
    pub(super) fn digest(&self) -> u64 {
        let one = |(name, library): (&str, &Library)| mix(digest(name.as_bytes()), !digest(&library.code));
        self.iter().map(one).fold(0, u64::wrapping_add)
    }

    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        write_count(writer, self.len())?;
        for (name, library) in self.iter() {
            write_bytes(writer, name.as_bytes())?;
            write_bytes(writer, &library.code)?;
            write_count(writer, library.functions.len())?;
            for function in &library.functions {
                write_bytes(writer, function.name.as_bytes())?;
                writer.write_all(&[u8::from(function.description.is_some())])?;
                write_bytes(writer, function.description.as_deref().unwrap_or_default())?;
                write_count(writer, function.flags.len())?;
                for flag in &function.flags {
                    write_bytes(writer, flag.as_bytes())?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn read(reader: &mut impl Read) -> Result<Self, RestoreError> {
        let mut libraries = Self::default();
        for _ in 0..read_count(reader)? {
            let name = read_text(reader)?;
            let code = read_bytes(reader)?.into();
            let functions = (0..read_count(reader)?).map(|_| read_function(reader)).collect::<Result<_, _>>()?;
            libraries.put(&name, Library { code, functions }).map_err(|_| RestoreError::Malformed)?;
        }
        Ok(libraries)
    }
}

impl Library {
    fn function(&self, name: &str) -> Option<&LibraryFunction> {
        self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))
    }

    fn bytes(&self) -> usize {
        let function = |function: &LibraryFunction| {
            let flags: usize = function.flags.iter().map(|flag| flag.len()).sum();
            FUNCTION_BYTES + function.name.len() + function.description.as_deref().map_or(0, <[u8]>::len) + flags
        };
        FUNCTION_BYTES + self.code.len() + self.functions.iter().map(function).sum::<usize>()
    }
}

fn read_function(reader: &mut impl Read) -> Result<LibraryFunction, RestoreError> {
    let name = read_text(reader)?;
    let mut is_described = [0];
    reader.read_exact(&mut is_described)?;
    let description = read_bytes(reader)?;
    let description = (is_described != [0]).then(|| description.into());
    let flags = (0..read_count(reader)?).map(|_| read_text(reader)).collect::<Result<_, _>>()?;
    Ok(LibraryFunction { name, description, flags })
}

fn read_text(reader: &mut impl Read) -> Result<Box<str>, RestoreError> {
    let text = String::from_utf8(read_bytes(reader)?).map_err(|_| RestoreError::Malformed)?;
    Ok(text.into())
}

fn write_count(writer: &mut impl Write, count: usize) -> io::Result<()> {
    writer.write_all(&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes())
}

/// Maximum bytes of all libraries.
const LIBRARIES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a library or a function besides its texts.
const FUNCTION_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn library(code: &str, function: &str) -> Library {
        let function = LibraryFunction {
            name: function.into(),
            description: Some(Box::from(&b"d"[..])),
            flags: vec!["no-writes".into()],
        };
        Library { code: code.as_bytes().into(), functions: vec![function] }
    }

    #[test]
    fn libraries_have_the_bytes_of_the_first_release() {
        let mut libraries = Libraries::default();
        libraries.put("lib", library("code", "f")).unwrap();
        let mut bytes = Vec::new();
        libraries.write(&mut bytes).unwrap();
        let golden =
            b"\x01\0\0\0\x03\0\0\0lib\x04\0\0\0code\x01\0\0\0\x01\0\0\0f\x01\x01\0\0\0d\x01\0\0\0\x09\0\0\0no-writes";
        assert_eq!(bytes, golden);
        let read = Libraries::read(&mut &bytes[..]).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), libraries.iter().collect::<Vec<_>>());
        assert_eq!(read.bytes, libraries.bytes);
        for length in 0..bytes.len() {
            assert!(Libraries::read(&mut &bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_function_is_in_one_library() {
        let mut libraries = Libraries::default();
        libraries.put("one", library("a", "f")).unwrap();
        assert_eq!(libraries.put("two", library("b", "F")), Err(LibraryError::Function("F".into())));
        libraries.put("one", library("longer", "f")).unwrap();
        assert!(libraries.function("F").is_some() && libraries.function("g").is_none());
        assert!(libraries.remove("one") && !libraries.remove("one"));
        assert_eq!((libraries.len(), libraries.bytes), (0, 0));
    }
}
