//! What is true of every process, under the names that Prometheus' client libraries use. Owns reading it from the
//! kernel, when it is asked for; what cannot be read is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Collect, Exposition, Kind, Seconds};
use crate::panics;

/// The process that runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    version: &'static str,
    started: SystemTime,
}

impl Process {
    /// A program of this version, which starts now.
    pub fn starts(version: &'static str) -> Process {
        Process { version, started: SystemTime::now() }
    }
}

impl Collect for Process {
    fn collect(&self, out: &mut Exposition) {
        out.family("halley_build_info", Kind::Gauge, "Always 1; the build is in the labels.")
            .sample(&[("version", &self.version)], 1);
        let started_s = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        out.family("process_start_time_seconds", Kind::Gauge, "When the process started, since the Unix epoch.")
            .sample(&[], started_s);
        let help = "Panics of libraries on what one peer had sent, or a file held; each has ended that peer's \
                    connection, or reading.";
        out.family("halley_contained_panics_total", Kind::Counter, help).sample(&[], panics::contained_total());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(bytes) = bytes_of(&status, "VmRSS:") {
            out.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the process.")
                .sample(&[], bytes);
        }
        if let Some(bytes) = bytes_of(&status, "VmSize:") {
            out.family("process_virtual_memory_bytes", Kind::Gauge, "Address space of the process.").sample(&[], bytes);
        }
        let help = "Time that the process has spent on CPUs, in user space and in the kernel.";
        out.family("process_cpu_seconds_total", Kind::Counter, help).sample(&[], Seconds(cpu_ns()));
        if let Some(open) = open_files() {
            out.family("process_open_fds", Kind::Gauge, "Open file descriptors; connections of shards have none.")
                .sample(&[], open);
        }
        // Without a limit there is no number to compare with.
        if let Some(max) = getrlimit(Resource::Nofile).current {
            out.family("process_max_fds", Kind::Gauge, "The limit on open file descriptors.").sample(&[], max);
        }
    }
}

/// The value of a line of `/proc/self/status` that counts kibibytes.
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// Without the one that is opened to look.
fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_kernels_kibibytes_are_bytes() {
        assert_eq!(bytes_of("VmSize:\t 9 kB\nVmRSS:\t      12 kB\n", "VmRSS:"), Some(12_288));
    }

    #[test]
    fn every_number_can_be_read_here() {
        let text = Metrics::default().with(Process::starts("1.2.3")).text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
        };
        assert!(text.contains("\nhalley_build_info{version=\"1.2.3\"} 1\n"));
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_max_fds") >= value("process_open_fds") && value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.7e9 && value("process_cpu_seconds_total") > 0.0);
    }
}
