//! Counts what threads execute in user space, exactly, by stepping them one instruction at a time. Hardware counters
//! would be quicker, but virtual machines seldom have them, and tools that translate the program stand still when it
//! waits in `io_uring_enter`. Owns the tracing thread; the traced process is unchanged and goes on afterwards.
//!
//! An instruction that enters the kernel counts as one. A thread that sleeps costs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::failure::{Doing, Failure, Result};

/// Looks for a stopped thread before the tracing thread naps: a step takes a few microseconds.
const LOOKS: u32 = 2_000;
/// Its nap when every thread sleeps in the kernel.
const NAP: Duration = Duration::from_micros(200);

/// A process whose instructions are being counted.
pub(crate) struct Stepping {
    enough: Arc<AtomicBool>,
    tracer: JoinHandle<Result<u64>>,
}

impl Stepping {
    /// From now on count the instructions of the process's threads whose names begin with `prefix`.
    pub(crate) fn start(pid: u32, prefix: &str) -> Result<Stepping> {
        let threads = threads_of(pid, prefix)?;
        let enough = Arc::new(AtomicBool::new(false));
        let (begun, beginning) = std::sync::mpsc::sync_channel(1);
        let told = Arc::clone(&enough);
        // Everything about a traced thread must come from one thread; when that ends, the kernel lets them all run on.
        let tracer = std::thread::Builder::new()
            .name("stepping".to_owned())
            .spawn(move || {
                let seized = seize(&threads);
                let answer = seized.as_ref().copied().map_err(ToString::to_string);
                // The one who started us waits for this; gone only when it has failed by itself.
                let _ = begun.send(answer);
                seized?;
                step(threads, &told)
            })
            .doing(|| "start counting instructions")?;
        let begun = beginning.recv().doing(|| "start counting instructions")?;
        begun.map_err(Failure::new)?;
        Ok(Stepping { enough, tracer })
    }

    /// Stop counting; the process runs on.
    pub(crate) fn stop(self) -> Result<u64> {
        self.enough.store(true, Ordering::Release);
        self.tracer.join().map_err(|_| Failure::new("the counting of instructions broke off"))?
    }
}

fn threads_of(pid: u32, prefix: &str) -> Result<BTreeSet<i32>> {
    let folder = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&folder).doing(|| format!("read {folder}"))?;
    let threads: BTreeSet<i32> = entries
        .flatten()
        .filter(|entry| std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with(prefix)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    if threads.is_empty() {
        return Err(Failure::new(format!("the server has no thread named {prefix}")));
    }
    Ok(threads)
}

/// Take hold of every thread and stop it.
fn seize(threads: &BTreeSet<i32>) -> Result<()> {
    for &thread in threads {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty())
            .and_then(|()| ptrace::interrupt(thread))
            .doing(|| "trace the server (as root, or with kernel.yama.ptrace_scope = 0)")?;
    }
    Ok(())
}

/// Step whatever has stopped until told that it is enough, then let everything go.
fn step(mut threads: BTreeSet<i32>, enough: &AtomicBool) -> Result<u64> {
    let mut executed = 0;
    while let Some((thread, signal)) = next_stop(&mut threads, enough)? {
        executed += u64::from(signal == Some(Signal::SIGTRAP));
        match ptrace::step(thread, signal.filter(|signal| *signal != Signal::SIGTRAP)) {
            // Killed in between; its end is told next.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).doing(|| "step a thread"),
        }
    }
    let_go(&mut threads)?;
    Ok(executed)
}

/// Stop every thread and let it run on untraced. The trap of its last step may still be on its way then, queued behind
/// the stop: a thread that is let go with it is killed by it, so it takes the trap first and is stopped once more.
fn let_go(threads: &mut BTreeSet<i32>) -> Result<()> {
    let never = AtomicBool::new(false);
    let mut held = threads.clone();
    for &thread in &held {
        ptrace::interrupt(Pid::from_raw(thread)).doing(|| "stop a stepped thread")?;
    }
    while held.iter().any(|thread| threads.contains(thread)) {
        let Some((thread, signal)) = next_stop(threads, &never)? else { continue };
        let gone = match signal {
            None if trap_waits(thread)? => ptrace::cont(thread, None),
            None => {
                held.remove(&thread.as_raw());
                ptrace::detach(thread, None)
            }
            Some(signal) => ptrace::cont(thread, Some(signal).filter(|signal| *signal != Signal::SIGTRAP))
                .and_then(|()| ptrace::interrupt(thread)),
        };
        match gone {
            // Killed in between; its end is told next.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).doing(|| "let a stepped thread go"),
        }
    }
    Ok(())
}

/// Whether a trap is queued for a thread that has stopped (`SigPnd` of proc(5), a bit for each signal from 1 on).
fn trap_waits(thread: Pid) -> Result<bool> {
    let path = format!("/proc/{thread}/status");
    let status = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    let queued = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigPnd:")?.trim(), 16).ok());
    let trap = 1 << (Signal::SIGTRAP as u32 - 1);
    Ok(queued.is_some_and(|queued| queued & trap != 0))
}

/// The next of the threads that has stopped, with the signal that stopped it, if any; `None` when told that it is
/// enough. Threads that end are taken out.
fn next_stop(threads: &mut BTreeSet<i32>, enough: &AtomicBool) -> Result<Option<(Pid, Option<Signal>)>> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let mut looks = 0;
    while !enough.load(Ordering::Acquire) {
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::Stopped(thread, signal)) => return Ok(Some((thread, Some(signal)))),
            Ok(WaitStatus::PtraceEvent(thread, ..)) => return Ok(Some((thread, None))),
            Ok(WaitStatus::Exited(thread, _)) if threads.len() > 1 => {
                threads.remove(&thread.as_raw());
            }
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
                return Err(Failure::new("the server ended while its instructions were counted"));
            }
            Ok(_) | Err(Errno::EINTR) => {
                looks += 1;
                if looks > LOOKS {
                    std::thread::sleep(NAP);
                }
            }
            Err(error) => return Err(error).doing(|| "wait for the next instruction"),
        }
    }
    Ok(None)
}
