//! The kinds of faults, by name.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($kind:ident $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "they are described at `What`, `Loss`, `Damage` and `Partition`")]
        pub enum FaultKind {
            $($kind,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Crash "crash",
    LostWrites "lost-writes",
    TornWrites "torn-writes",
    GarbageSectors "garbage-sectors",
    LostNames "lost-names",
    Blink "blink",
    CrashNextLeader "crash-next-leader",
    CrashAll "crash-all",
    RollingRestart "rolling-restart",
    Pause "pause",
    Wipe "wipe",
    OldCopy "old-copy",
    Isolate "isolate",
    Halves "halves",
    OneWay "one-way",
    Bridge "bridge",
    Star "star",
    Chain "chain",
    Ring "ring",
    Leaves "leaves",
    Slow "slow",
    Bandwidth "bandwidth",
    Lose "lose",
    Duplicate "duplicate",
    Echo "echo",
    Delay "delay",
    SlowDisk "slow-disk",
    StallDisk "stall-disk",
    BitRot "bit-rot",
    MisdirectedWrite "misdirected-write",
    ReadErrors "read-errors",
    WriteError "write-error",
    SyncError "sync-error",
    FullDisk "full-disk",
    Drift "drift",
    Jump "jump",
    Leap "leap",
    SetClock "set-clock",
    SlowSnapshots "slow-snapshots",
    FlippedBits "flipped-bits",
    LostFolder "lost-folder",
    LostRequests "lost-requests",
    Transfer "transfer",
    AddGroup "add-group",
    RemoveGroup "remove-group",
    ChangeMembers "change-members",
}

impl FaultKind {
    /// True if schedules have it unless told otherwise. Groups come and go, and their members change, only if that is
    /// asked for.
    #[must_use]
    pub fn is_usual(self) -> bool {
        !matches!(self, Self::AddGroup | Self::RemoveGroup | Self::ChangeMembers)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("{name} is not one of {}", all()))
    }
}
