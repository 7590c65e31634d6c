//! The file `skipped` of a data directory: the commands that the node skips, one a line.
//!
//! ```text
//! group index term checksum    of decimal numbers; the CRC-32C of the command in hexadecimal digits
//! ```
//!
//! A line names one entry exactly, so damage to the file can make a node halt at the command again, but never skip
//! another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use quorate_protocol::{GroupId, LogIndex, Term};
use quorate_wal::disk::{Disk, DiskFile};

use crate::group::start::SkippedCommand;
use crate::shell::directory::{DirectoryError, replace_file};

/// The commands that a node skips, by group.
pub(crate) type SkippedCommands = BTreeMap<GroupId, Vec<SkippedCommand>>;

/// Reads the file. Without the file nothing is skipped.
///
/// # Errors
/// When a line is not of the format, or the disk fails.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<SkippedCommands, DirectoryError> {
    let file = match disk.open(Path::new(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SkippedCommands::new()),
        Err(error) => return Err(DirectoryError::Io(error)),
    };
    let bytes = read_whole(&file).map_err(DirectoryError::Io)?;
    let text = str::from_utf8(&bytes).map_err(|_| DirectoryError::Unreadable(NAME))?;
    let mut skipped = SkippedCommands::new();
    for line in text.lines() {
        let (group, command) = parse(line).ok_or(DirectoryError::Unreadable(NAME))?;
        skipped.entry(group).or_default().push(command);
    }
    Ok(skipped)
}

/// Replaces the file, durably.
///
/// # Errors
/// When the disk fails. The old file is then unchanged, or replaced.
pub(super) fn write<D: Disk>(disk: &D, skipped: &SkippedCommands) -> io::Result<()> {
    let mut text = String::new();
    for (group, commands) in skipped {
        for SkippedCommand { index, term, checksum } in commands {
            writeln!(text, "{group} {index} {term} {checksum:08x}", group = group.0, index = index.0, term = term.0)
                .expect("a string takes all");
        }
    }
    replace_file(disk, NAME, BESIDE, text.as_bytes()).map(drop)
}

fn read_whole(file: &impl DiskFile) -> io::Result<Vec<u8>> {
    let length = file.len()?.min(BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

fn parse(line: &str) -> Option<(GroupId, SkippedCommand)> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let group = GroupId(word()?.parse().ok()?);
    let (index, term) = (LogIndex(word()?.parse().ok()?), Term(word()?.parse().ok()?));
    let checksum = u32::from_str_radix(word()?, 16).ok()?;
    word().is_none().then_some((group, SkippedCommand { index, term, checksum }))
}

const NAME: &str = "skipped";
const BESIDE: &str = "skipped.tmp";
/// No file is longer: that are ten thousand commands.
const BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorate_protocol::{GroupId, LogIndex, Term};
    use quorate_wal::disk::{Crash, Disk, DiskFile, MemoryDisk};

    use super::{SkippedCommand, SkippedCommands, parse, read, write};

    #[test]
    fn what_was_written_survives_a_crash() {
        let disk = MemoryDisk::new();
        assert!(read(&disk).expect("no file").is_empty());
        let command = |index| SkippedCommand { index: LogIndex(index), term: Term(3), checksum: 0xab };
        let mut skipped = SkippedCommands::from([(GroupId(1), vec![command(4), command(9)])]);
        write(&disk, &skipped).expect("there is room");
        skipped.insert(GroupId(u64::MAX), vec![command(u64::MAX)]);
        write(&disk, &skipped).expect("there is room");
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(read(&disk).expect("just written"), skipped);
    }

    #[test]
    fn a_line_of_another_format_is_refused() {
        for line in ["", "1 2 3", "1 2 3 000000ab 5", "1 2 x 000000ab", "1 2 3 1000000ab", "-1 2 3 000000ab"] {
            assert_eq!(parse(line), None, "{line}");
        }
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("skipped")).expect("there is room");
        file.write_at(0, b"1 2 3\n").expect("there is room");
        let refusal = read(&disk).expect_err("a word is missing");
        assert_eq!(refusal.to_string(), "the file `skipped` of the data directory cannot be read");
    }
}
