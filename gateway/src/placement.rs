//! Where shards run and how many connections they may hold. Owns the decision, made once at start from what the process may use:
//! CPUs (affinity and quota), the limit on open files. `node` starts the threads by it.

use std::fmt;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::limits::SPARE_SLOTS;

/// Connections when `max_connections` is 0 and the limit on open files allows more.
pub const AUTO_CONNECTIONS_MAX: u32 = 1_000_000;
/// Descriptors of the process that are no client connections: rings, listeners, gRPC and HTTP connections, files. They are
/// not counted against a ring's table, so this only keeps a tiny limit from leaving nothing.
const SLOTS_MIN: u32 = SPARE_SLOTS + 1;

/// What the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs the process may run on, ascending.
    pub cpus: Vec<usize>,
    /// Whole CPUs' worth of time that affinity and cgroup quota allow together.
    pub parallelism: usize,
    /// Limit on open files: the bound on the direct descriptors of one ring.
    pub open_files: u64,
}

/// How the shards are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Per shard: the CPU it stays on, and the connections it holds at most.
    pub shards: Vec<Place>,
    /// Something the operator should know.
    pub notes: Vec<Note>,
}

/// One shard's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The CPU it stays on; `None` = the kernel's choice.
    pub cpu: Option<usize>,
    /// Connections it holds at most.
    pub capacity: u32,
}

impl Place {
    /// Direct descriptors of its ring.
    pub fn slots(self) -> u32 {
        self.capacity + SPARE_SLOTS
    }
}

/// What the operator should know about a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// `max_connections` does not fit.
    TooFewFiles {
        /// Connections asked for.
        wanted: u32,
        /// Connections that fit.
        fit: u32,
        /// The limit on open files.
        open_files: u64,
        /// The limit that would do with as many shards.
        open_files_needed: u64,
        /// The shards that would do with this limit.
        shards_needed: u64,
    },
    /// Shards are not pinned because a quota limits the process to fewer CPUs than it may run on.
    NotPinned {
        /// CPUs' worth of time.
        parallelism: usize,
        /// CPUs it may run on.
        cpus: usize,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::TooFewFiles { wanted, fit, open_files, open_files_needed, shards_needed } => write!(
                f,
                "max_connections = {wanted} does not fit, {fit} do: a shard holds at most as many connections as the limit on \
                 open files ({open_files}) allows; raise it to {open_files_needed} (LimitNOFILE={open_files_needed} in the \
                 systemd unit, or `ulimit -Hn {open_files_needed}`), or set shards = {shards_needed}"
            ),
            Note::NotPinned { parallelism, cpus } => write!(
                f,
                "shards are not pinned: a CPU quota gives this process {parallelism} of the {cpus} CPUs it may run on"
            ),
        }
    }
}

/// What a configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Shards; 0 = by the machine.
    pub shards: u32,
    /// Connections, all shards together; 0 = by the machine.
    pub max_connections: u32,
    /// Pin shards where that makes sense.
    pub pin: bool,
}

impl Machine {
    /// Look at this process, and raise its soft limit on open files to the hard one: the low soft limit protects programs that use
    /// `select`, and this one does not.
    pub fn detect() -> Machine {
        let files = rustix::process::getrlimit(Resource::Nofile);
        if files.current != files.maximum {
            let _ =
                rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
        }
        let open_files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        let cpus = match sched_getaffinity(None) {
            Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
            Err(_) => Vec::new(),
        };
        Machine { cpus, parallelism, open_files }
    }
}

/// Decide.
pub fn place(wish: Wish, machine: &Machine) -> Placement {
    let mut notes = Vec::new();
    let count = match wish.shards {
        0 => u32::try_from(machine.parallelism).unwrap_or(u32::MAX).clamp(1, 256),
        count => count,
    };
    let slots_max = u32::try_from(machine.open_files).unwrap_or(u32::MAX).max(SLOTS_MIN);
    let shard_max = slots_max - SPARE_SLOTS;
    let fit = shard_max.saturating_mul(count);
    let total = match wish.max_connections {
        0 => fit.min(AUTO_CONNECTIONS_MAX),
        wanted if wanted > fit => {
            notes.push(Note::TooFewFiles {
                wanted,
                fit,
                open_files: machine.open_files,
                open_files_needed: u64::from(wanted.div_ceil(count)) + u64::from(SPARE_SLOTS),
                shards_needed: wanted.div_ceil(shard_max).into(),
            });
            fit
        }
        wanted => wanted,
    };
    let quota = machine.parallelism < machine.cpus.len();
    if wish.pin && quota {
        notes.push(Note::NotPinned { parallelism: machine.parallelism, cpus: machine.cpus.len() });
    }
    let cpus: &[usize] = if wish.pin && !quota { &machine.cpus } else { &[] };
    let shards = (0..count)
        .zip((0..).map(|index: usize| (!cpus.is_empty()).then(|| cpus[index % cpus.len()])))
        .map(|(index, cpu)| Place { cpu, capacity: total / count + u32::from(index < total % count) })
        .collect();
    Placement { shards, notes }
}

/// Keep the calling thread on one CPU. Without the right to do so the thread runs where the kernel likes, which costs speed only.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "cannot keep this thread on its CPU");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cpus: usize, open_files: u64) -> Machine {
        Machine { cpus: (0..cpus).collect(), parallelism: cpus, open_files }
    }

    fn wish(shards: u32, max_connections: u32) -> Wish {
        Wish { shards, max_connections, pin: true }
    }

    fn capacities(placement: &Placement) -> Vec<u32> {
        placement.shards.iter().map(|place| place.capacity).collect()
    }

    #[test]
    fn one_shard_for_every_cpu_and_each_on_its_own() {
        let placement = place(wish(0, 0), &machine(4, 20_000));
        assert_eq!(placement.shards.iter().map(|place| place.cpu).collect::<Vec<_>>(), [0, 1, 2, 3].map(Some));
        assert_eq!(capacities(&placement), [20_000 - SPARE_SLOTS; 4]);
        assert_eq!(placement.notes, []);
    }

    #[test]
    fn more_shards_than_cpus_go_round() {
        let placement = place(wish(5, 0), &machine(2, 20_000));
        assert_eq!(placement.shards.iter().map(|place| place.cpu).collect::<Vec<_>>(), [0, 1, 0, 1, 0].map(Some));
    }

    #[test]
    fn the_shards_hold_max_connections_together_and_not_one_more() {
        assert_eq!(capacities(&place(wish(3, 10), &machine(2, 1024))), [4, 3, 3]);
        assert_eq!(capacities(&place(wish(2, 1), &machine(2, 1024))), [1, 0]);
        assert_eq!(capacities(&place(wish(2, 0), &machine(2, 10_000_000))), [AUTO_CONNECTIONS_MAX / 2; 2]);
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_limit_that_would_do() {
        let placement = place(wish(2, 100_000), &machine(2, 1_024));
        assert_eq!(capacities(&placement), [960; 2]);
        let [note] = placement.notes[..] else { panic!("{:?}", placement.notes) };
        assert!(note.to_string().contains("LimitNOFILE=50064"), "{note}");
        assert_eq!(place(wish(2, 100_000), &machine(2, 50_064)).notes, []);
        let Note::TooFewFiles { shards_needed, .. } = note else { panic!("{note:?}") };
        assert_eq!(place(wish(u32::try_from(shards_needed).unwrap(), 100_000), &machine(2, 1_024)).notes, []);
    }

    #[test]
    fn a_limit_below_the_spare_slots_still_leaves_a_connection() {
        assert_eq!(capacities(&place(wish(1, 0), &machine(1, 10))), [1]);
    }

    #[test]
    fn under_a_quota_nothing_is_pinned() {
        let quota = Machine { cpus: (0..64).collect(), parallelism: 2, open_files: 1024 };
        let placement = place(wish(0, 0), &quota);
        assert_eq!(placement.shards.iter().map(|place| place.cpu).collect::<Vec<_>>(), [None, None]);
        assert_eq!(placement.notes, [Note::NotPinned { parallelism: 2, cpus: 64 }]);
    }
}
