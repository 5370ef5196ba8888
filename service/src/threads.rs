//! The process's threads. Owns starting them under their names and hearing when each is up and when it ends; what they
//! do is handed in. A thread that panics ends the process (`panics`).

use std::fmt::Display;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::failure::{Cause, Failure};

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
    Ended(Ended),
}

/// Says that a thread is up: it serves from now on.
pub struct Up(SyncSender<Report>);

impl Up {
    /// Say so.
    pub fn now(self) {
        // Nobody listens when the process is failing for another reason.
        let _ = self.0.send(Report::Up);
    }
}

/// Threads that were started, and the reports that they still owe: two each.
pub struct Threads {
    reports: Receiver<Report>,
    sender: SyncSender<Report>,
    started: usize,
    running: usize,
}

impl Threads {
    /// Room for the reports of so many threads.
    pub fn new(threads: usize) -> Threads {
        // Each reports twice at most, so no thread ever waits for the reader.
        let (sender, reports) = sync_channel(2 * threads);
        Threads { reports, sender, started: 0, running: 0 }
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
        for _ in 0..self.started {
            match self.next(None) {
                Some(Report::Up) => {}
                Some(Report::Ended(Ended { name, result })) => {
                    result?;
                    return Err(Failure::new(Cause::Runtime, format_args!("the {name} thread ended while starting")));
                }
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
                Some(Report::Up) => {}
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
