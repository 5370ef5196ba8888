//! Files that a configuration names. Owns reading them within a bound, which does not believe the size that the file
//! system says: a pipe has none, a device no end. Knows which file a thread reads, so that people can be told where
//! reading hangs. Whoever must not hang sends an [`Errand`] to a thread of its own.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use crate::panics::{Contained, contain};
use crate::plain::Plain;

/// Stack of a thread that reads.
const STACK_BYTES: usize = 1024 * 1024;

/// The file that a thread reads now.
type Current = Arc<Mutex<Option<PathBuf>>>;

thread_local! {
    /// That of this thread, for whoever waits for it.
    static READING: RefCell<Current> = RefCell::default();
}

/// How long a pipe may say nothing: longer than anybody waits for the answer, who then says what he waited for.
const PIPE_WITHIN: Timespec = Timespec { tv_sec: 12, tv_nsec: 0 };

/// A file, or what is in its place and says something in time. Opening a pipe waits for nobody: one that nobody writes
/// to would hold its reader for ever, even after another file has taken its path.
struct Source(File);

impl io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.metadata()?.is_file() {
            return self.0.read(buffer);
        }
        loop {
            let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&PIPE_WITHIN))?;
            if ready == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it is a pipe that nobody writes to"));
            }
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// The whole file, of at most `bytes_max`. Waits as long as the file makes it wait, for a pipe 12 seconds.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let _reading = Reading::begin(path);
    let mut bytes = Vec::new();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    Source(file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Who beside its owner may write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Its group.
    Group,
    /// Everybody.
    Everybody,
}

/// Who beside its owner may write this file, by its mode; `None` also for what is no plain file, or cannot be looked
/// at.
pub fn writers(path: &Path) -> Option<Writers> {
    let _reading = Reading::begin(path);
    let about = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = about.permissions().mode();
    if mode & 0o002 != 0 {
        Some(Writers::Everybody)
    } else if mode & 0o020 != 0 {
        Some(Writers::Group)
    } else {
        None
    }
}

/// The sentence about a file that holds a secret, or decides who is trusted, and that others may write; `what` names
/// the setting.
pub fn loose(what: &str, path: &Path) -> Option<String> {
    let who = match writers(path)? {
        Writers::Group => "its group",
        Writers::Everybody => "every user of this machine",
    };
    Some(format!("{what} {}: {who} may write this file; take that away with `chmod go-w`", path.display()))
}

/// Says what its thread reads, as long as it lives.
struct Reading(Current);

impl Reading {
    fn begin(path: &Path) -> Reading {
        let current = READING.with_borrow(Arc::clone);
        *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
        Reading(current)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why an errand has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Late {
    /// It is not over in time: the time, and the file that it hangs on if it is one.
    Hangs(Duration, Option<PathBuf>),
    /// A library panicked on what a file holds.
    Broken(Contained),
    /// Its thread ended without one.
    Gone,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Late::Hangs(time, Some(path)) => write!(
                f,
                "reading {} is not over after {} s: it is a pipe that nobody writes to, or on a file system that does \
                 not answer",
                Plain(path.display()),
                time.as_secs()
            ),
            Late::Hangs(time, None) => write!(f, "it is not over after {} s", time.as_secs()),
            Late::Broken(contained) => {
                write!(f, "{}; a library failed on what one of the files holds: please report this", Plain(contained))
            }
            Late::Gone => f.write_str("it ended without an answer"),
        }
    }
}

impl std::error::Error for Late {}

/// Work that reads files, on a thread of its own. No runtime waits for it: one that hangs goes on behind whoever has
/// given up.
#[derive(Debug)]
pub struct Errand<T> {
    answer: oneshot::Receiver<Result<T, Contained>>,
    thread: JoinHandle<()>,
    reading: Current,
}

impl<T: Send + 'static> Errand<T> {
    /// Begin. Fails when there is no thread for it. Libraries that read what is in the files panic for themselves:
    /// nothing of `work` is left then, and whoever asked goes on by what it has.
    pub fn begin(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Errand<T>> {
        let (sender, answer) = oneshot::channel();
        let reading = Current::default();
        let own = Arc::clone(&reading);
        let body = move || {
            READING.set(own);
            // Nobody may wait any more.
            let _ = sender.send(contain("what reads the files", work));
        };
        let thread = thread::Builder::new().name("files".to_owned()).stack_size(STACK_BYTES).spawn(body)?;
        Ok(Errand { answer, thread, reading })
    }

    /// The answer, if it comes within this time. Cancel safe; may be asked again after [`Late::Hangs`].
    pub async fn answer(&mut self, within: Duration) -> Result<T, Late> {
        match tokio::time::timeout(within, &mut self.answer).await {
            Ok(Ok(answer)) => answer.map_err(Late::Broken),
            Ok(Err(_)) => Err(Late::Gone),
            Err(_) => Err(Late::Hangs(within, self.reading())),
        }
    }

    /// The file that it reads now.
    pub fn reading(&self) -> Option<PathBuf> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its thread has ended.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    /// Nothing is measured by it.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn pipe(folder: &Path) -> PathBuf {
        let path = folder.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
        path
    }

    #[test]
    fn no_file_is_read_beyond_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, b"12345").expect("written");
        assert_eq!(read(&path, 5).expect("it fits"), b"12345");
        assert!(read(&path, 4).expect_err("too long").to_string().contains("more than 4 bytes"));
        for endless in ["/dev/zero", "/proc/self/mem"] {
            assert!(read(Path::new(endless), 100_000).is_err(), "{endless}");
        }
        assert!(read(&folder.path().join("none"), 5).is_err());
        assert!(read(folder.path(), 5).is_err(), "a folder");
    }

    /// The size of a pipe is 0, and it has more.
    #[test]
    fn a_pipe_is_read_to_its_end_or_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        for (bytes_max, read_in_full) in [(200_000, true), (199_999, false)] {
            let writer = path.clone();
            let writer = thread::spawn(move || fs::write(writer, [7; 200_000]));
            assert_eq!(read(&path, bytes_max).is_ok(), read_in_full);
            drop(writer.join().expect("no panic"));
        }
    }

    #[test]
    fn who_may_write_a_file_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        fs::write(&path, b"").expect("written");
        for (mode, expected) in [
            (0o600, None),
            (0o644, None),
            (0o755, None),
            (0o620, Some(Writers::Group)),
            (0o602, Some(Writers::Everybody)),
            (0o666, Some(Writers::Everybody)),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            assert_eq!(writers(&path), expected, "{mode:o}");
            assert_eq!(loose("key", &path).is_some(), expected.is_some());
        }
        assert_eq!(writers(&folder.path().join("none")), None);
    }

    /// Certificates and keys come from elsewhere: what a library does with them ends no process.
    #[tokio::test]
    async fn a_panic_on_a_file_is_an_answer() {
        let mut errand = Errand::begin(|| -> u8 { panic!("planted in the library") }).expect("a thread");
        let late = errand.answer(PATIENCE).await.expect_err("it panicked").to_string();
        assert!(late.starts_with("what reads the files panicked: planted in the library"), "{late}");
    }

    /// A pipe that nobody writes to hangs the errand alone, is named, and gives way when somebody does.
    #[tokio::test]
    async fn a_pipe_hangs_nobody_but_its_errand() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        let named = path.clone();
        let mut errand = Errand::begin(move || read(&named, 100)).expect("a thread");
        let deadline = Instant::now() + PATIENCE;
        while errand.reading().is_none() {
            assert!(Instant::now() < deadline, "it never begins");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let late = errand.answer(Duration::from_millis(50)).await.expect_err("it hangs").to_string();
        assert!(late.contains("pipe is not over after"), "{late}");
        assert!(!errand.is_over());
        // Opening it waits for the reader that hangs.
        fs::write(&path, b"at last").expect("somebody reads");
        assert_eq!(errand.answer(PATIENCE).await.expect("in time").expect("read"), b"at last");
        while !errand.is_over() {
            assert!(Instant::now() < deadline, "it never ends");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
