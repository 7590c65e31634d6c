//! What the system says about this process.

use std::fs;

/// Memory and processor time of this process. 0 where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Bytes of memory that it holds.
    pub memory_bytes: u64,
    /// Seconds of processor time in its own code.
    pub user_seconds: f64,
    /// Seconds of processor time in the system's.
    pub system_seconds: f64,
}

impl Process {
    /// What Linux says now.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self::parse(&status, &stat)
    }

    /// From the texts of `/proc/self/status` and `/proc/self/stat`.
    fn parse(status: &str, stat: &str) -> Self {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: Option<u64> = resident.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse().ok());
        // The name of the program may contain blanks, and ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let seconds = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / TICKS;
        Self { memory_bytes: kilobytes.unwrap_or(0) * 1024, user_seconds: seconds(11), system_seconds: seconds(12) }
    }
}

/// Ticks of `/proc` a second, on every machine.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_linux_are_read() {
        let status = "Name:\tkv\nVmHWM:\t  900 kB\nVmRSS:\t     812 kB\n";
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 1 0 99 1000 200";
        let expected = Process { memory_bytes: 812 * 1024, user_seconds: 1.5, system_seconds: 0.25 };
        assert_eq!(Process::parse(status, stat), expected);
        assert_eq!(Process::parse("", ""), Process::default());
    }
}
