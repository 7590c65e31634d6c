//! The commands of requests that are answered together.

/// Commands in the order of their requests, as places among all commands with numbers of repetitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// The first run, which mostly is the only one. It needs no allocation.
    first: (u16, u32),
    more: Vec<(u16, u32)>,
}

impl Calls {
    /// Adds a command.
    pub fn add(&mut self, command: usize) {
        let command = u16::try_from(command).expect("commands are few");
        if self.first.1 == 0 {
            self.first = (command, 1);
            return;
        }
        let last = self.more.last_mut().unwrap_or(&mut self.first);
        if last.0 == command {
            last.1 += 1;
        } else {
            self.more.push((command, 1));
        }
    }

    /// The runs: command and number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        let runs = std::iter::once(&self.first).chain(&self.more);
        runs.filter(|run| run.1 > 0).map(|(command, count)| (usize::from(*command), *count))
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.iter().map(|(_, count)| count as usize).sum()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.first.1 == 0
    }

    /// The command of the request at this place.
    pub fn at(&self, place: usize) -> Option<usize> {
        let mut before = 0;
        let run = self.iter().find(|(_, count)| {
            before += *count as usize;
            place < before
        });
        run.map(|(command, _)| command)
    }
}
