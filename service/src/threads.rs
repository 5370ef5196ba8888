//! The process's threads. Owns starting them under their names and hearing when each is up and when it ends; what they
//! do is handed in. A thread that panics ends the process (`panics`).

use std::fmt::Display;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::failure::{Cause, Failure};
use crate::lifecycle::{Lifecycle, Phase};

/// Stack of each thread. Only what is used takes memory.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// A runtime for one thread, with timers and sockets.
pub fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::of_kernel("cannot start a runtime", &error))
}

/// Something on a runtime that never fails has failed.
pub fn runtime_failure(error: impl Display) -> Failure {
    Failure::new(Cause::Runtime, error)
}

/// How a thread ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// Why, if it failed.
    pub result: Result<(), Failure>,
}

enum Report {
    Up,
    Open,
    Ended(Ended),
}

/// Says that a thread is up: it serves from now on.
pub struct Up(SyncSender<Report>);

impl Up {
    /// Say so.
    pub fn now(self) -> Opening {
        // Nobody listens when the process is failing for another reason.
        let _ = self.0.send(Report::Up);
        Opening(self.0)
    }
}

/// Says that what the process opens for is there, which one of its threads knows.
pub struct Opening(SyncSender<Report>);

impl Opening {
    /// Say so.
    pub fn now(self) {
        let _ = self.0.send(Report::Open);
    }
}

/// Threads that were started, and the reports that they still owe: three each at most.
pub struct Threads {
    reports: Receiver<Report>,
    sender: SyncSender<Report>,
    started: usize,
    running: usize,
    is_open: bool,
}

impl Threads {
    /// Room for the reports of so many threads.
    pub fn new(threads: usize) -> Threads {
        // Each reports three times at most, so no thread ever waits for the reader.
        let (sender, reports) = sync_channel(3 * threads);
        Threads { reports, sender, started: 0, running: 0, is_open: false }
    }

    /// Start a thread. It must say that it is up, or end.
    pub fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(Up) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let (sender, own_name) = (self.sender.clone(), name.to_owned());
        let body = move || {
            let result = work(Up(sender.clone()));
            let _ = sender.send(Report::Ended(Ended { name: own_name, result }));
        };
        let spawned = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body);
        spawned.map_err(|error| cannot_start(name, &error))?;
        self.started += 1;
        self.running += 1;
        Ok(())
    }

    /// Wait until every thread is up; the failure of the first that ends before.
    pub fn wait_until_up(&mut self) -> Result<(), Failure> {
        let mut up = 0;
        while up < self.started {
            match self.next(None) {
                Some(Report::Up) => up += 1,
                Some(Report::Open) => self.is_open = true,
                Some(Report::Ended(ended)) => return Err(ended_while_starting(ended)),
                None => break,
            }
        }
        Ok(())
    }

    /// Wait until one of them says that the process may open; the failure of the first that ends before.
    pub fn wait_until_open(&mut self) -> Result<(), Failure> {
        while !self.is_open {
            match self.next(None) {
                Some(Report::Open) => self.is_open = true,
                Some(Report::Up) => {}
                Some(Report::Ended(ended)) => return Err(ended_while_starting(ended)),
                None => break,
            }
        }
        Ok(())
    }

    /// Wait until any thread ends.
    pub fn wait_for_end(&mut self) -> Ended {
        loop {
            match self.next(None) {
                Some(Report::Ended(ended)) => return ended,
                Some(Report::Up | Report::Open) => {}
                None => return Ended { name: "main".to_owned(), result: Ok(()) },
            }
        }
    }

    /// Wait until every thread has ended, but not longer than this. Failures on the way out are only logged.
    pub fn wait_for_all(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.running > 0 {
            match self.next(Some(deadline)) {
                Some(Report::Ended(Ended { name, result: Err(failure) })) => {
                    tracing::warn!(thread = name, problem = failure.sentence, "a thread failed while stopping");
                }
                Some(_) => {}
                None => return tracing::warn!(threads = self.running, "threads did not end in time"),
            }
        }
    }

    /// Wait for the end of the process: of a drain, or of a thread that should not have ended. The others may take so
    /// long to end after the first one has.
    ///
    /// # Errors
    /// The first one failed, or nobody had asked for it to end.
    pub fn wait_for_drain(&mut self, lifecycle: &Lifecycle, within: Duration) -> Result<(), Failure> {
        let Ended { name, result } = self.wait_for_end();
        result?;
        if lifecycle.phase() != Phase::Draining {
            let sentence = format_args!("the {name} thread ended, which it never should; please report this");
            return Err(Failure::new(Cause::Runtime, sentence));
        }
        self.wait_for_all(within);
        Ok(())
    }

    fn next(&mut self, deadline: Option<Instant>) -> Option<Report> {
        let report = match deadline {
            None => self.reports.recv().ok(),
            Some(deadline) => self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
        };
        if matches!(report, Some(Report::Ended(_))) {
            self.running -= 1;
        }
        report
    }
}

fn ended_while_starting(Ended { name, result }: Ended) -> Failure {
    match result {
        Err(failure) => failure,
        Ok(()) => Failure::new(Cause::Runtime, format_args!("the {name} thread ended while starting")),
    }
}

fn cannot_start(name: &str, error: &io::Error) -> Failure {
    let sentence =
        format_args!("cannot start the {name} thread: {error}; raise the limit on tasks (TasksMax, pids.max)");
    Failure::new(Cause::Kernel, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_fails_while_starting_is_reported_with_its_reason() {
        let mut threads = Threads::new(2);
        threads
            .spawn("good", |up| {
                up.now();
                Ok(())
            })
            .unwrap();
        threads.spawn("bad", |_| Err(Failure::new(Cause::Kernel, "no ring"))).unwrap();
        // The good one may end before the bad one fails; either way the start has failed.
        assert!(threads.wait_until_up().is_err());
    }

    /// Whether a thread says it before all others are up or after, opening is waited for; one that ends in its stead is
    /// a failure.
    #[test]
    fn opening_is_waited_for_and_may_fail() {
        let mut threads = Threads::new(2);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        threads
            .spawn("opens", move |up| {
                up.now().now();
                let _ = wait.recv();
                Ok(())
            })
            .unwrap();
        threads.wait_until_up().unwrap();
        threads.wait_until_open().unwrap();
        drop(go);
        let mut failing = Threads::new(1);
        let late = |up: Up| {
            let _opening = up.now();
            Err(Failure::new(Cause::Runtime, "no log"))
        };
        failing.spawn("fails", late).unwrap();
        failing.wait_until_up().unwrap();
        assert_eq!(failing.wait_until_open().expect_err("it ended").sentence, "no log");
    }

    #[test]
    fn the_end_of_every_thread_is_waited_for() {
        let mut threads = Threads::new(2);
        for name in ["one", "two"] {
            threads
                .spawn(name, |up| {
                    up.now();
                    Ok(())
                })
                .unwrap();
        }
        assert!(threads.wait_for_end().result.is_ok());
        threads.wait_for_all(Duration::from_secs(60));
        assert_eq!(threads.running, 0);
    }
}
