//! Why io_uring cannot run here, in words for the person who starts the gateway. Owns the mapping from what the kernel
//! answered, and what the host says about itself, to one sentence with the cause and the cure. It changes nothing on
//! the host; `ring` and `mod` call it when a step of the start fails.

use std::fmt;

use super::super::Errno;
use crate::limits::TABLE_SLOTS_MAX;

/// Oldest kernel that has all the gateway needs: the peer's address of a direct descriptor (6.7) and a release in which
/// it is dependable.
pub const KERNEL_MIN: KernelVersion = KernelVersion { major: 6, minor: 8 };

/// Version of a Linux kernel, without patch level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
}

impl KernelVersion {
    /// Read from a release such as `6.8.0-45-generic`; `None` when it does not begin with two numbers.
    pub fn parse(release: &str) -> Option<KernelVersion> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(KernelVersion { major, minor })
    }
}

/// What the host says about itself, gathered once something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `uname -r`.
    pub release: String,
    /// `kernel.io_uring_disabled`, when the kernel has it (6.6).
    pub io_uring_disabled: Option<u8>,
    /// Soft limit of open files; `None` = unlimited.
    pub descriptors_max: Option<u64>,
    /// Soft limit of locked memory in bytes; `None` = unlimited.
    pub locked_bytes_max: Option<u64>,
}

impl Host {
    /// Ask the running system.
    pub fn look() -> Host {
        use rustix::process::{Resource, getrlimit};
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Host {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            io_uring_disabled: disabled.ok().and_then(|text| text.trim().parse().ok()),
            descriptors_max: getrlimit(Resource::Nofile).current,
            locked_bytes_max: getrlimit(Resource::Memlock).current,
        }
    }

    /// The kernel is too old to try. A release that cannot be read is tried.
    pub fn is_too_old(&self) -> bool {
        KernelVersion::parse(&self.release).is_some_and(|running| running < KERNEL_MIN)
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `io_uring_setup`.
    Setup,
    /// The table of direct descriptors.
    Descriptors {
        /// Slots asked for.
        slots: u32,
    },
    /// The ring of provided receive buffers.
    Buffers {
        /// Bytes of all buffers.
        bytes: u64,
    },
    /// Anything else that a supported kernel never refuses.
    Other(&'static str),
}

/// Why a shard cannot have its ring. Displays as one sentence that names the cause and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Older than [`KERNEL_MIN`].
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// Built without io_uring, or a sandbox that does not have it.
    Missing {
        /// `uname -r`.
        release: String,
    },
    /// Switched off by `kernel.io_uring_disabled`.
    SwitchedOff {
        /// 1: only for the privileged and a group; 2: for everybody.
        value: u8,
    },
    /// A seccomp profile refuses the system call.
    Forbidden,
    /// The kernel would not give the memory.
    Memory {
        /// Soft limit of locked memory in bytes; `None` = unlimited.
        locked_bytes_max: Option<u64>,
    },
    /// More direct descriptors than the process may have.
    DescriptorTable {
        /// Slots asked for.
        slots: u32,
        /// Soft limit of open files; `None` = unlimited.
        descriptors_max: Option<u64>,
    },
    /// More direct descriptors than the kernel puts in one table.
    TableTooLarge {
        /// Slots asked for.
        slots: u32,
    },
    /// The process has no descriptor left for the ring itself.
    NoDescriptor {
        /// Soft limit of open files; `None` = unlimited.
        descriptors_max: Option<u64>,
    },
    /// A refusal nobody expects.
    Refused {
        /// What was tried.
        step: Step,
        /// The kernel's answer.
        error: Errno,
        /// `uname -r`.
        release: String,
    },
}

/// Says why a step failed. A pure function, so that every sentence can be tested.
pub fn explain(step: Step, error: Errno, host: &Host) -> StartError {
    let release = || host.release.clone();
    if host.is_too_old() {
        return StartError::KernelTooOld { release: release() };
    }
    match (step, error.0) {
        (Step::Setup, libc::ENOSYS) => StartError::Missing { release: release() },
        (Step::Setup, libc::EPERM | libc::EACCES) => match host.io_uring_disabled {
            Some(value @ 1..) => StartError::SwitchedOff { value },
            _ => StartError::Forbidden,
        },
        // Sandboxes filter registering as well, with the same answer.
        (_, libc::EPERM | libc::EACCES) => StartError::Forbidden,
        (_, libc::ENOMEM) => StartError::Memory { locked_bytes_max: host.locked_bytes_max },
        (Step::Descriptors { slots }, libc::EMFILE) if slots > TABLE_SLOTS_MAX => StartError::TableTooLarge { slots },
        (Step::Descriptors { slots }, libc::EMFILE) => {
            StartError::DescriptorTable { slots, descriptors_max: host.descriptors_max }
        }
        (_, libc::EMFILE | libc::ENFILE) => StartError::NoDescriptor { descriptors_max: host.descriptors_max },
        _ => StartError::Refused { step, error, release: release() },
    }
}

/// A limit as `ulimit` prints it.
struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(out, "{limit}"),
            None => out.write_str("unlimited"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Setup => out.write_str("setting up a ring"),
            Step::Descriptors { slots } => write!(out, "registering {slots} direct descriptors"),
            Step::Buffers { bytes } => write!(out, "registering {bytes} bytes of receive buffers"),
            Step::Other(what) => out.write_str(what),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::KernelTooOld { release } => write!(
                out,
                "this host runs Linux {release}, but io_uring as the gateway uses it needs Linux {}.{} or newer: \
                 upgrade the kernel",
                KERNEL_MIN.major, KERNEL_MIN.minor
            ),
            StartError::Missing { release } => write!(
                out,
                "the kernel ({release}) has no io_uring: use a kernel built with CONFIG_IO_URING, and no sandbox that \
                 lacks it (gVisor does)"
            ),
            StartError::SwitchedOff { value: 1 } => out.write_str(
                "io_uring is reserved for privileged processes here (kernel.io_uring_disabled = 1): run \
                 `sysctl kernel.io_uring_disabled=0`, or add the gateway's group to kernel.io_uring_group",
            ),
            StartError::SwitchedOff { value } => write!(
                out,
                "io_uring is switched off on this host (kernel.io_uring_disabled = {value}): run \
                 `sysctl kernel.io_uring_disabled=0`"
            ),
            StartError::Forbidden => out.write_str(
                "io_uring is refused although the kernel allows it, as the default seccomp profile of container \
                 runtimes does: start the container with a profile that allows io_uring_setup, io_uring_enter and \
                 io_uring_register (Docker: --security-opt seccomp=FILE; Kubernetes: securityContext.seccompProfile)",
            ),
            StartError::Memory { locked_bytes_max } => write!(
                out,
                "the kernel has no memory for a ring: raise the memory limit of the container or service, and the \
                 limit of locked memory (now {} bytes; LimitMEMLOCK= in systemd, or `ulimit -l`)",
                Limit(*locked_bytes_max)
            ),
            StartError::DescriptorTable { slots, descriptors_max } => write!(
                out,
                "a shard wants {slots} connections, but one ring holds at most as many as the limit of open files, \
                 which is {}: set LimitNOFILE={slots} (systemd) or `ulimit -n {slots}`, or a lower max_connections",
                Limit(*descriptors_max)
            ),
            StartError::TableTooLarge { slots } => write!(
                out,
                "a shard wants {slots} connections, but one ring holds at most {TABLE_SLOTS_MAX}: use more shards"
            ),
            StartError::NoDescriptor { descriptors_max } => write!(
                out,
                "no file descriptor is left for a ring: raise the limit of open files, which is {} (LimitNOFILE= in \
                 systemd, or `ulimit -n`)",
                Limit(*descriptors_max)
            ),
            StartError::Refused { step, error, release } => write!(
                out,
                "{step} failed on Linux {release} with \"{}\": this is not expected on a supported kernel, please \
                 report it",
                std::io::Error::from_raw_os_error(error.0)
            ),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            release: "6.8.0-45-generic".into(),
            io_uring_disabled: Some(0),
            descriptors_max: Some(1024),
            locked_bytes_max: Some(65536),
        }
    }

    /// Each cause an operator can meet gets a sentence of its own that names the cause and the cure.
    #[test]
    fn every_cause_has_its_sentence() {
        let descriptors = Step::Descriptors { slots: 20_064 };
        let buffers = Step::Buffers { bytes: 1 << 21 };
        let old = Host { release: "5.15.0-91-generic".into(), ..host() };
        let guarded = Host { io_uring_disabled: Some(1), ..host() };
        let off = Host { io_uring_disabled: Some(2), ..host() };
        let before_the_switch = Host { io_uring_disabled: None, ..host() };
        let cases: &[(Step, i32, &Host, &[&str])] = &[
            (Step::Setup, libc::EINVAL, &old, &["5.15.0-91-generic", "6.8", "upgrade"]),
            (Step::Setup, libc::EPERM, &old, &["5.15.0-91-generic", "6.8"]),
            (Step::Setup, libc::ENOSYS, &host(), &["no io_uring", "CONFIG_IO_URING"]),
            (Step::Setup, libc::EPERM, &guarded, &["kernel.io_uring_disabled = 1", "kernel.io_uring_group"]),
            (Step::Setup, libc::EPERM, &off, &["kernel.io_uring_disabled = 2", "sysctl kernel.io_uring_disabled=0"]),
            (Step::Setup, libc::EPERM, &host(), &["seccomp", "--security-opt"]),
            (Step::Setup, libc::EACCES, &before_the_switch, &["seccomp"]),
            (buffers, libc::EPERM, &host(), &["seccomp"]),
            (Step::Setup, libc::ENOMEM, &host(), &["65536", "LimitMEMLOCK"]),
            (buffers, libc::ENOMEM, &host(), &["memory", "ulimit -l"]),
            (descriptors, libc::EMFILE, &host(), &["20064", "1024", "LimitNOFILE=20064", "max_connections"]),
            (Step::Descriptors { slots: 2_000_000 }, libc::EMFILE, &host(), &["2000000", "1048576", "more shards"]),
            (Step::Setup, libc::EMFILE, &host(), &["no file descriptor", "1024"]),
            (Step::Setup, libc::ENFILE, &host(), &["no file descriptor"]),
            (buffers, libc::EINVAL, &host(), &["2097152", "Invalid argument", "report"]),
        ];
        for (step, errno, host, words) in cases {
            let sentence = explain(*step, Errno(*errno), host).to_string();
            for word in *words {
                assert!(sentence.contains(word), "{word:?} is missing in {sentence:?}");
            }
            assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "one sentence: {sentence:?}");
        }
    }

    #[test]
    fn releases_are_read_and_compared_by_number() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(KernelVersion::parse("6.8.0-45-generic"), version(6, 8));
        assert_eq!(KernelVersion::parse("6.12-rc3"), version(6, 12));
        assert_eq!(KernelVersion::parse("7"), None);
        assert_eq!(KernelVersion::parse("unknown"), None);
        let too_old = |release: &str| Host { release: release.into(), ..host() }.is_too_old();
        assert!(too_old("6.7.9") && too_old("5.15.0") && !too_old("6.8.0") && !too_old("6.18.1") && !too_old("10.0.0"));
        assert!(!too_old("unknown"), "what cannot be read is tried");
    }

    /// The running system answers, and its answers are plausible.
    #[test]
    fn this_host_describes_itself() {
        let host = Host::look();
        assert!(KernelVersion::parse(&host.release).is_some(), "{}", host.release);
        assert!(host.descriptors_max.is_none_or(|limit| limit > 0));
    }
}
