//! What a process uses, read from `/proc` and so from outside: the measured program runs no line of code for it. Owns
//! the readings of CPU time and memory; knows nothing of what the process is.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::{Doing, Failure, Result};

/// The unit of the times in `/proc/<pid>/stat`: USER_HZ, 100 on every architecture Linux runs on today.
const TICK_NS: u64 = 10_000_000;

/// CPU time of one process, all threads, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime {
    /// By thread id: the thread's name and the nanoseconds it ran.
    threads: BTreeMap<u32, (String, u64)>,
    user_ticks: u64,
    system_ticks: u64,
}

/// CPU time used between two moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuSpent {
    /// Of the whole process, in nanoseconds, threads that started or ended in between included.
    pub total_ns: u64,
    /// Of that in user space. The kernel samples this by ticks: it is an estimate.
    pub user_ns: u64,
    /// By thread name, in nanoseconds. Threads of one name are added up.
    pub threads: BTreeMap<String, u64>,
}

impl CpuSpent {
    /// Take in further time of the same process.
    pub(crate) fn add(&mut self, more: &CpuSpent) {
        self.total_ns += more.total_ns;
        self.user_ns += more.user_ns;
        for (name, ns) in &more.threads {
            *self.threads.entry(name.clone()).or_default() += ns;
        }
    }
}

impl CpuTime {
    /// Of a running process.
    pub(crate) fn of(pid: u32) -> Result<CpuTime> {
        let mut threads = BTreeMap::new();
        let folder = format!("/proc/{pid}/task");
        for entry in fs::read_dir(&folder).doing(|| format!("read {folder}"))? {
            let path = entry.doing(|| format!("read {folder}"))?.path();
            let Some(tid) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading; the process's own totals still hold its time.
            let (Ok(name), Ok(ran)) =
                (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
            else {
                continue;
            };
            let ran_ns = ran.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
            threads.insert(tid, (name.trim_end().to_owned(), ran_ns));
        }
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let (user_ticks, system_ticks) =
            ticks(&stat).ok_or_else(|| Failure::new(format!("cannot find the CPU times in {path}")))?;
        Ok(CpuTime { threads, user_ticks, system_ticks })
    }

    /// What was used since `earlier`, a reading of the same process.
    pub(crate) fn since(&self, earlier: &CpuTime) -> CpuSpent {
        let mut threads: BTreeMap<String, u64> = BTreeMap::new();
        for (tid, (name, ran_ns)) in &self.threads {
            let before = earlier.threads.get(tid).map_or(0, |(_, before)| *before);
            *threads.entry(name.clone()).or_default() += ran_ns.saturating_sub(before);
        }
        let nobody_left = earlier.threads.keys().all(|tid| self.threads.contains_key(tid));
        let user = self.user_ticks - earlier.user_ticks;
        let system = self.system_ticks - earlier.system_ticks;
        // Threads are exact to the nanosecond; the process's totals come in ticks, but forget no thread that ended.
        let total_ns = if nobody_left { threads.values().sum() } else { (user + system) * TICK_NS };
        CpuSpent { total_ns, user_ns: user * TICK_NS, threads }
    }
}

/// utime and stime of a `/proc/<pid>/stat` line. The command name before them may hold blanks and brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Proportional set size of one process, by what is mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes of the whole process.
    pub pss_bytes: u64,
    /// Bytes by mapping: a file, `[heap]`, `[anon: name]`, or `[anon]`.
    pub mappings: BTreeMap<String, u64>,
}

impl Memory {
    /// Of a running process.
    pub(crate) fn of(pid: u32) -> Result<Memory> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).doing(|| format!("read {path}"))
        };
        let rollup = read("smaps_rollup")?;
        let pss_bytes = rollup.lines().find_map(pss).ok_or_else(|| Failure::new("the kernel reports no Pss"))?;
        Ok(Memory { pss_bytes, mappings: by_mapping(&read("smaps")?) })
    }
}

/// The bytes of a line `Pss: 123 kB`.
fn pss(line: &str) -> Option<u64> {
    let kib: u64 = line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn by_mapping(smaps: &str) -> BTreeMap<String, u64> {
    let mut mappings = BTreeMap::new();
    let mut name = String::new();
    for line in smaps.lines() {
        if let Some(bytes) = pss(line) {
            *mappings.entry(name.clone()).or_default() += bytes;
        } else if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            // address perms offset device inode [path]
            name = line.split_ascii_whitespace().nth(5).map_or("[anon]", |path| path.trim()).to_owned();
            if name.starts_with("[anon:") {
                name = line[line.find("[anon:").unwrap_or(0)..].to_owned();
            }
        }
    }
    mappings
}

/// Keep this thread, and what it starts from now on, on one CPU.
pub(crate) fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).doing(|| format!("run on CPU {cpu}"))
}

/// Let this thread, and what it starts from now on, run on every CPU there is.
pub(crate) fn unpin() -> Result<()> {
    let mut cpus = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        cpus.set(cpu);
    }
    sched_setaffinity(None, &cpus).doing(|| "run on every CPU")
}

/// Set the scheduling priority of this process and of what it starts from now on, as `nice` counts it.
pub(crate) fn set_nice(nice: i32) -> Result<()> {
    if nice == 0 {
        return Ok(());
    }
    setpriority_process(None, nice).doing(|| format!("set the priority to {nice} (below 0 needs root)"))
}

/// The CPUs that the thread of this name may run on, as the kernel writes them: `0` or `0-1`.
pub(crate) fn cpus_of_thread(pid: u32, prefix: &str) -> Option<String> {
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |label: &str| status.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
        if field("Name:").is_some_and(|name| name.starts_with(prefix)) {
            return field("Cpus_allowed_list:").map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_command_name() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 1 0 0 0 4242 17 0 0 20 0 4 0 100 1 2 3";
        assert_eq!(ticks(stat), Some((4242, 17)));
    }

    #[test]
    fn a_thread_that_ended_moves_the_reckoning_to_the_process() {
        let of = |threads: &[(u32, u64)], ticks| CpuTime {
            threads: threads.iter().map(|(tid, ns)| (*tid, ("t".to_owned(), *ns))).collect(),
            user_ticks: ticks,
            system_ticks: 0,
        };
        let earlier = of(&[(1, 1_000), (2, 5_000)], 0);
        assert_eq!(of(&[(1, 4_000), (2, 5_500), (3, 10)], 1).since(&earlier).total_ns, 3_510);
        assert_eq!(of(&[(1, 4_000)], 7).since(&earlier).total_ns, 7 * TICK_NS);
    }

    #[test]
    fn memory_is_added_up_by_mapping() {
        let smaps = "55-56 r-xp 00000000 08:01 1  /bin/x\nSize: 8 kB\nPss:      4 kB\nPss_Dirty: 4 kB\n\
                     57-58 rw-p 00000000 00:00 0 \nPss: 8 kB\n\
                     59-60 rw-p 00000000 00:00 0 \nPss: 12 kB\n\
                     61-62 rw-p 00000000 00:00 0   [anon: mi pages]\nPss: 16 kB\n";
        let expected = [("/bin/x", 4096), ("[anon]", 20 * 1024), ("[anon: mi pages]", 16 * 1024)];
        assert_eq!(by_mapping(smaps), expected.map(|(name, bytes)| (name.to_owned(), bytes)).into());
    }

    #[test]
    fn this_process_has_used_cpu_time_and_memory() {
        let pid = std::process::id();
        let spent = CpuTime::of(pid).expect("readable").since(&CpuTime::default());
        assert!(spent.total_ns > 0);
        let memory = Memory::of(pid).expect("readable");
        assert!(memory.pss_bytes > 0 && memory.mappings.len() > 1);
    }
}
