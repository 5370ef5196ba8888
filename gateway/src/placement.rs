//! Where shards run and how many connections they may hold. Owns the decision, made once at start from what the process
//! may use: CPUs (affinity and quota), the limit on open files. `node` starts the threads by it.

use std::fmt;

use halley_service::open_files::{self, FewerPlaces, SPARE, TooFew};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::limits::{SHARDS_MAX, SPARE_SLOTS, TABLE_SLOTS_MAX};

/// Connections when `max_connections` is 0 and the limit on open files allows more.
pub const AUTO_CONNECTIONS_MAX: u32 = 1_000_000;
/// Places in a ring's table that leave room for one client. Descriptors of the process (rings, listeners, gRPC and HTTP
/// connections, files) are under the same limit, but are not counted against a ring's table.
const SLOTS_MIN: u32 = SPARE_SLOTS + 1;
/// Descriptors that the process has open besides those of its shards and its listeners: the runtimes of its threads,
/// standard streams, signals, the ready file.
const FILES_OF_PROCESS: u32 = 28;
/// Descriptors of a shard besides its listeners: the ring and the doorbell.
const FILES_OF_SHARD: u32 = 2;

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
        /// Shards there are.
        shards: u32,
    },
    /// The listeners of HTTP and gRPC have fewer places than they should.
    FewerPlaces(FewerPlaces),
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
            Note::TooFewFiles { wanted, fit, open_files, shards } => {
                write!(
                    f,
                    "max_connections = {wanted} does not fit, {fit} do: a shard holds at most as many connections as \
                     the limit on open files ({open_files}) allows, less {SPARE_SLOTS}; "
                )?;
                let raise = |f: &mut fmt::Formatter<'_>, limit: u32| {
                    write!(f, "raise it to {limit} (LimitNOFILE={limit} in the systemd unit, or `ulimit -Hn {limit}`)")
                };
                let with_more_shards = wanted.div_ceil(shard_capacity(*open_files));
                let limit_of = |shards: u32| wanted.div_ceil(shards) + SPARE_SLOTS;
                match (limit_of(*shards) <= TABLE_SLOTS_MAX, with_more_shards <= SHARDS_MAX) {
                    (true, true) => {
                        raise(f, limit_of(*shards))?;
                        write!(f, ", or set shards = {with_more_shards}")
                    }
                    (true, false) => raise(f, limit_of(*shards)),
                    (false, true) => write!(f, "set shards = {with_more_shards}"),
                    (false, false) => {
                        raise(f, limit_of(SHARDS_MAX))?;
                        write!(f, " and set shards = {SHARDS_MAX}")
                    }
                }
            }
            Note::FewerPlaces(note) => note.fmt(f),
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
    /// Look at this process, and raise its limit on open files.
    pub fn detect() -> Machine {
        let open_files = open_files::raise();
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
    let fit = shard_capacity(machine.open_files).saturating_mul(count);
    let total = match wish.max_connections {
        0 => fit.min(AUTO_CONNECTIONS_MAX),
        wanted if wanted > fit => {
            notes.push(Note::TooFewFiles { wanted, fit, open_files: machine.open_files, shards: count });
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

/// Clients that one shard can hold under this limit on open files, at least one: [`check_files`] refuses what is below.
fn shard_capacity(open_files: u64) -> u32 {
    u32::try_from(open_files).unwrap_or(u32::MAX).clamp(SLOTS_MIN, TABLE_SLOTS_MAX) - SPARE_SLOTS
}

/// Whether the limit on open files lets so many shards run, each with so many listeners of clients, beside so many
/// listeners of the process. Asked before anything is opened, so that one sentence has the whole answer.
pub fn check_files(
    machine: &Machine,
    shards: usize,
    client_listeners: usize,
    other_listeners: usize,
) -> Result<(), TooFew> {
    let (open_files, own) = (machine.open_files, own_files(shards, client_listeners, other_listeners));
    let needed = own.saturating_add(SPARE).max(SLOTS_MIN);
    if open_files >= u64::from(needed) {
        return Ok(());
    }
    let purpose = format!(
        "{own} for rings, listeners and threads and {SPARE} kept for HTTP and gRPC connections, and no fewer than \
         {SLOTS_MIN}, since a shard holds as many clients as the limit less {SPARE_SLOTS} that are kept for turning \
         clients away"
    );
    Err(TooFew { open_files, needed, purpose })
}

/// Descriptors of rings, listeners and threads.
pub fn own_files(shards: usize, client_listeners: usize, other_listeners: usize) -> u32 {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let of_shard = FILES_OF_SHARD.saturating_add(count(client_listeners));
    FILES_OF_PROCESS.saturating_add(count(shards).saturating_mul(of_shard)).saturating_add(count(other_listeners))
}

/// Keep the calling thread on one CPU. Without the right to do so the thread runs where the kernel likes, which costs
/// speed only.
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
        assert!(note.to_string().ends_with("or set shards = 105"), "{note}");
        assert_eq!(place(wish(105, 100_000), &machine(2, 1_024)).notes, []);
    }

    /// Only what helps is advised: there are bounds on shards and on what one ring holds.
    #[test]
    fn no_advice_goes_beyond_what_is_possible() {
        for (shards, wanted, open_files, says, says_not) in [
            (256, 100_000, 100, "LimitNOFILE=455", "shards ="),
            (2, 16_000_000, 1 << 20, "set shards = 16", "LimitNOFILE"),
            (
                2,
                16_000_000,
                1_024,
                "LimitNOFILE=62564 in the systemd unit, or `ulimit -Hn 62564`) and set shards = 256",
                "or set",
            ),
            (2, 16_000_000, u64::MAX, "set shards = 16", "LimitNOFILE"),
        ] {
            let said = place(wish(shards, wanted), &machine(2, open_files)).notes[0].to_string();
            assert!(said.contains(says) && !said.contains(says_not), "{said}");
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_said_with_the_one_that_would_do() {
        let enough = |files, shards| check_files(&machine(2, files), shards, 2, 2);
        assert_eq!(enough(133, 2).unwrap_err().needed, 134);
        assert_eq!(enough(134, 2), Ok(()));
        let refusal = enough(100, 64).unwrap_err();
        assert_eq!(enough(refusal.needed.into(), 64), Ok(()));
        assert!(enough(u64::from(refusal.needed) - 1, 64).is_err());
        assert!(refusal.to_string().contains(&format!("LimitNOFILE={}", refusal.needed)), "{refusal}");
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
