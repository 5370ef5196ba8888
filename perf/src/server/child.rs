//! Processes under measurement, and the promise that none outlives its measurement: they end when their owner is
//! dropped, when a deadline passes, and when somebody interrupts. Owns starting and ending; what they serve is
//! `server`'s matter.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Doing, Failure, Result};

/// How long a process may take to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(20);
/// How often waiting looks.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of its output shown when a process fails.
const LINES_SHOWN: usize = 8;

/// Processes that must be ended when this one ends early.
static LIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A process of ours.
pub(crate) struct Child {
    process: std::process::Child,
    name: &'static str,
    output: PathBuf,
}

impl Child {
    /// Start `command` with its output in a file of `folder` and a pipe as its standard input.
    pub(crate) fn start(mut command: Command, name: &'static str, folder: &Path) -> Result<Child> {
        let output = folder.join(format!("{name}.log"));
        let stdout = File::create(&output).doing(|| format!("write {}", output.display()))?;
        let stderr = stdout.try_clone().doing(|| format!("write {}", output.display()))?;
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let program = Path::new(command.get_program()).display().to_string();
        let process = command.spawn().doing(|| format!("start {program}"))?;
        let child = Child { process, name, output };
        live().push(child.handle());
        Ok(child)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its standard input; `None` the second time.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// Everything it has written.
    pub(crate) fn output(&self) -> String {
        let mut text = Vec::new();
        // Without its output the failure is still told, only with less detail.
        let _ = File::open(&self.output).and_then(|mut file| file.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Wait until it has written `path` whole, as JSON.
    pub(crate) fn wait_ready<T: serde::de::DeserializeOwned>(&mut self, path: &Path, patience: Duration) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(ready) = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                return Ok(ready);
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.failed(&format!("was not ready after {} s", patience.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// An error when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.try_wait().doing(|| format!("look after {}", self.name))? {
            None => Ok(()),
            Some(status) => Err(self.failed(&format!("ended early ({status})"))),
        }
    }

    /// Wait until it ends by itself and well, as it does when its standard input has.
    pub(crate) fn wait_end(&mut self) -> Result<()> {
        if !self.ends_within(GRACE) {
            return Err(self.failed("did not end when its input did"));
        }
        match self.process.try_wait() {
            Ok(Some(status)) if !status.success() => Err(self.failed(&format!("ended badly ({status})"))),
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        Failure::new(format!("{} {what}; it said:\n  {shown}", self.name))
    }

    fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(_)) | Err(_) => return true,
            }
        }
        false
    }

    fn handle(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let pid = self.handle();
        drop(self.take_input());
        if matches!(self.process.try_wait(), Ok(None)) {
            // Nothing to save: a measured gateway need not drain, but a clean end keeps its own checks alive.
            let _ = kill_process(pid, Signal::TERM);
            if !self.ends_within(GRACE) {
                let _ = self.process.kill();
            }
        }
        let _ = self.process.wait();
        live().retain(|live| *live != pid);
    }
}

fn live() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, end this process and all it started when `limit` has passed or when somebody interrupts.
pub(crate) fn watch(limit: Duration) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(|| "watch the time")?;
    let watch = async move {
        let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            _ => return "stopped: signals cannot be watched".to_owned(),
        };
        tokio::select! {
            () = tokio::time::sleep(limit) => format!("stopped: not done after {} s (--deadline-s)", limit.as_secs()),
            _ = interrupt.recv() => "stopped by an interrupt".to_owned(),
            _ = terminate.recv() => "stopped by a signal".to_owned(),
        }
    };
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            let why = runtime.block_on(watch);
            for pid in live().iter() {
                let _ = kill_process(*pid, Signal::KILL);
            }
            eprintln!("halley-perf: {why}");
            std::process::exit(1);
        })
        .doing(|| "watch the time")?;
    Ok(())
}
