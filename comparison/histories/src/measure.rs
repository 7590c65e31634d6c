//! One process that judges one file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Failure;

#[derive(Debug)]
pub(crate) enum Judge {
    /// `simulate`, by its path.
    Quorate(PathBuf),
    /// The program that calls Porcupine, by its path.
    Porcupine(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Violated,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) megabytes: f64,
}

impl Figures {
    /// Adds the time; the memory is the larger of the two.
    pub(crate) fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.megabytes = self.megabytes.max(other.megabytes);
    }

    /// The median of the times, and of the peaks.
    pub(crate) fn median(samples: impl Iterator<Item = Self>) -> Self {
        let (mut seconds, mut megabytes): (Vec<_>, Vec<_>) = samples.map(|one| (one.seconds, one.megabytes)).unzip();
        seconds.sort_by(f64::total_cmp);
        megabytes.sort_by(f64::total_cmp);
        Self { seconds: seconds[seconds.len() / 2], megabytes: megabytes[megabytes.len() / 2] }
    }
}

impl Judge {
    /// Has a process judge the file. GNU time reports its peak memory.
    pub(crate) fn judge(&self, file: &Path) -> Result<(Verdict, Figures), Failure> {
        let mut command = Command::new("time");
        command.args(["--quiet", "--format", "peak %M"]);
        match self {
            Self::Quorate(program) => command.arg(program).arg("check").arg(file),
            Self::Porcupine(program) => command.arg(program).arg(file),
        };
        let began = Instant::now();
        let output = command.output()?;
        let seconds = began.elapsed().as_secs_f64();
        let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let verdict = match (self, output.status.code(), printed.trim()) {
            (Self::Quorate(_), Some(0), _) | (Self::Porcupine(_), Some(0), "Ok") => Verdict::Holds,
            (Self::Quorate(_), Some(1), _) | (Self::Porcupine(_), Some(0), "Illegal") => Verdict::Violated,
            _ => return Err(format!("{}: {self:?} gave no verdict: {printed} {errors}", file.display()).into()),
        };
        let kilobytes: f64 = errors.lines().find_map(|line| line.strip_prefix("peak ")).ok_or("no peak")?.parse()?;
        Ok((verdict, Figures { seconds, megabytes: kilobytes / 1000.0 }))
    }
}
