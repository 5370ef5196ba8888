//! Files that this process wrote and that go away with it: a ready file, a socket file. Owns which they are, each by
//! its path, its device and its inode. So no end of the process removes what a successor has put in its place. An
//! orderly end drops the values. Every other end that the process has a say in (a failure, a panic, a second stop)
//! calls [`remove_all`].
//!
//! An inode number may be given to another file once nobody holds the old one. So whoever has an [`OwnFile`] keeps the
//! file open, or the socket bound, until it is dropped.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

/// Those of this process.
static FILES: Files = Files::new();

/// How long [`remove_all`] waits for the file system at most.
const REMOVE_WITHIN: Duration = Duration::from_secs(1);
/// How long an end under way is waited for by whoever would otherwise go on.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How often it tries to get at the list, which nobody holds for longer than a change of it takes.
const TRIES: u32 = 200;

/// Which file it is: its device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of what is at `path`; of a link itself.
    pub fn at(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(Identity::from)
    }

    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Identity> {
        file.metadata().map(Identity::from)
    }

    /// Remove what is at `path`, if it still is this file.
    pub fn remove(self, path: &Path) -> io::Result<()> {
        match Identity::at(path) {
            Ok(there) if there == self => fs::remove_file(path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl From<Metadata> for Identity {
    fn from(about: Metadata) -> Identity {
        Identity { device: about.dev(), inode: about.ino() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    identity: Identity,
}

impl Entry {
    fn remove(&self) {
        // Gone already, or out of reach: either way nothing is left to do.
        let _ = self.identity.remove(&self.path);
    }
}

/// A file of ours, removed when this is dropped, if it still is ours.
#[derive(Debug)]
pub struct OwnFile {
    entry: Entry,
    files: &'static Files,
}

impl OwnFile {
    /// A file that `make` puts there, with its path and what it is: no end comes between its being there and its being
    /// known.
    pub fn create<T>(make: impl FnOnce() -> io::Result<(T, PathBuf, Identity)>) -> io::Result<(T, OwnFile)> {
        or_the_end(FILES.create(make))
    }

    /// What is at `path` now, which this process has just put there. Fails, and removes it, when the process is ending.
    pub fn claim(path: &Path) -> io::Result<OwnFile> {
        or_the_end(FILES.claim(path, Identity::at(path)?))
    }

    /// This file, which is at `path` or soon will be.
    pub fn claim_for(path: &Path, file: &File) -> io::Result<OwnFile> {
        or_the_end(FILES.claim(path, Identity::of(file)?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.entry.path
    }

    /// The same file, which soon will be at `path` too.
    pub fn also_at(&self, path: &Path) -> io::Result<OwnFile> {
        self.files.claim(path, self.entry.identity)
    }

    /// It is ours no more, and stays.
    pub fn disown(self) {
        self.files.forget(&self.entry);
        std::mem::forget(self);
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // In this order: an end that comes between the two still knows the file.
        self.entry.remove();
        self.files.forget(&self.entry);
    }
}

/// What came of a claim. When it failed because the process is ending, that end is waited for: it has the better word,
/// and is not to be overtaken by ours.
fn or_the_end<T>(claimed: io::Result<T>) -> io::Result<T> {
    if claimed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
        thread::sleep(END_WITHIN);
    }
    claimed
}

/// Remove every file of ours: the process is about to end without dropping anything. From now on nothing can be
/// claimed, so that nothing is written behind its back. When two ends meet, the second returns only when the first has
/// removed everything. Does not panic, and waits for nobody longer than a second, not for a file system either.
pub fn remove_all() {
    FILES.remove_all();
}

/// A list of files.
#[derive(Debug)]
struct Files {
    /// `None` once it is closed.
    list: Mutex<Option<Vec<Entry>>>,
    /// Whether what was in it is removed.
    removed: Mutex<bool>,
    /// Told when it is.
    told: Condvar,
}

/// What [`Files::close`] found.
#[derive(Debug)]
enum Closed {
    /// It was open, and held these.
    Now(Vec<Entry>),
    /// Another thread has closed it, and removes what it held.
    Before,
    /// It is held, by the thread that panics itself.
    Never,
}

impl Files {
    const fn new() -> Files {
        Files { list: Mutex::new(Some(Vec::new())), removed: Mutex::new(false), told: Condvar::new() }
    }

    fn create<T>(&'static self, make: impl FnOnce() -> io::Result<(T, PathBuf, Identity)>) -> io::Result<(T, OwnFile)> {
        let mut list = self.list();
        let Some(open) = list.as_mut() else { return Err(ending()) };
        let (made, path, identity) = make()?;
        let entry = Entry { path, identity };
        open.push(entry.clone());
        Ok((made, OwnFile { entry, files: self }))
    }

    fn claim(&'static self, path: &Path, identity: Identity) -> io::Result<OwnFile> {
        let entry = Entry { path: path.to_owned(), identity };
        match self.list().as_mut() {
            Some(list) => list.push(entry.clone()),
            None => {
                entry.remove();
                return Err(ending());
            }
        }
        Ok(OwnFile { entry, files: self })
    }

    fn forget(&self, entry: &Entry) {
        if let Some(list) = self.list().as_mut()
            && let Some(at) = list.iter().position(|other| other == entry)
        {
            list.remove(at);
        }
    }

    fn list(&self) -> MutexGuard<'_, Option<Vec<Entry>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> Closed {
        for _ in 0..TRIES {
            let taken = match self.list.try_lock() {
                Ok(mut list) => list.take(),
                Err(TryLockError::Poisoned(list)) => list.into_inner().take(),
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            };
            return taken.map_or(Closed::Before, Closed::Now);
        }
        Closed::Never
    }

    fn remove_all(&self) {
        match self.close() {
            Closed::Now(entries) => {
                remove_each(entries);
                *self.removed.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.told.notify_all();
            }
            Closed::Before => {
                let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
                drop(self.told.wait_timeout_while(removed, REMOVE_WITHIN, |removed| !*removed));
            }
            Closed::Never => {}
        }
    }
}

fn ending() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the process is ending")
}

/// In the order in which they were claimed: a file that is moved from one path to another is met at one of them.
fn remove_each(entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    let (done, over) = sync_channel(1);
    let own = entries.clone();
    let remove = move || {
        own.iter().for_each(Entry::remove);
        let _ = done.send(());
    };
    match thread::Builder::new().name("last-words".to_owned()).spawn(remove) {
        Ok(_) => drop(over.recv_timeout(REMOVE_WITHIN)),
        Err(_) => entries.iter().for_each(Entry::remove),
    }
}

#[cfg(test)]
mod tests {
    use std::hint;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    /// A list of the test's own.
    fn files() -> &'static Files {
        Box::leak(Box::new(Files::new()))
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().expect("a folder"))
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Holds the file open, as owners do.
        fn write(&self, files: &'static Files, name: &str) -> (OwnFile, File) {
            let file = File::create(self.at(name)).expect("written");
            (files.claim(&self.at(name), Identity::of(&file).expect("open")).expect("claimed"), file)
        }

        /// What a successor does.
        fn replace(&self, name: &str) {
            fs::write(self.at("other"), "another's").expect("written");
            fs::rename(self.at("other"), self.at(name)).expect("replaced");
        }
    }

    #[test]
    fn a_file_goes_with_its_value_unless_it_is_anothers_by_then() {
        let (folder, files) = (Folder::new(), files());
        drop(folder.write(files, "dropped"));
        assert!(!folder.at("dropped").exists());
        let replaced = folder.write(files, "replaced");
        folder.replace("replaced");
        drop(replaced);
        assert_eq!(fs::read_to_string(folder.at("replaced")).expect("it stays"), "another's");
        let (disowned, _file) = folder.write(files, "disowned");
        disowned.disown();
        assert!(folder.at("disowned").exists());
        let (gone, _file) = folder.write(files, "gone");
        fs::remove_file(folder.at("gone")).expect("removed");
        drop(gone);
        assert_eq!(files.list().as_deref(), Some(&[][..]), "nothing is remembered");
    }

    #[test]
    fn at_an_end_without_order_all_go_but_those_of_others() {
        let (folder, files) = (Folder::new(), files());
        let _held = ["kept", "replaced", "gone"].map(|name| folder.write(files, name));
        let (disowned, _file) = folder.write(files, "disowned");
        disowned.disown();
        folder.replace("replaced");
        fs::remove_file(folder.at("gone")).expect("removed");
        files.remove_all();
        assert!(!folder.at("kept").exists());
        assert!(folder.at("replaced").exists() && folder.at("disowned").exists());
    }

    /// Another thread may be about to write when the process ends: its file must not outlive the process.
    #[test]
    fn nothing_is_claimed_after_the_end_has_begun() {
        let (folder, files) = (Folder::new(), files());
        // Moved to its place only after the list was worked off.
        let file = File::create(folder.at("temporary")).expect("written");
        let identity = Identity::of(&file).expect("open");
        let _temporary = files.claim(&folder.at("temporary"), identity).expect("claimed");
        let _place = files.claim(&folder.at("place"), identity).expect("claimed");
        files.remove_all();
        assert!(fs::rename(folder.at("temporary"), folder.at("place")).is_err(), "there is nothing to move");
        fs::write(folder.at("late"), "").expect("written");
        assert!(files.claim(&folder.at("late"), Identity::at(&folder.at("late")).expect("there")).is_err());
        assert!(!folder.at("late").exists());
        files.remove_all();
    }

    /// A thread that panics while it holds the list finds its own lock taken: the end comes all the same.
    #[test]
    fn a_list_that_is_held_is_not_waited_for() {
        let files = files();
        let held = files.list();
        files.remove_all();
        drop(held);
    }

    /// Whoever is first ends the process, so each must find everything gone when it goes on.
    #[test]
    fn of_two_ends_at_once_neither_goes_on_before_all_is_removed() {
        for _ in 0..20 {
            let (folder, files) = (Folder::new(), files());
            let _held: Vec<_> = (0..100).map(|number| folder.write(files, &number.to_string())).collect();
            let ready = AtomicUsize::new(0);
            let end = || {
                // A barrier would wake one of them late.
                ready.fetch_add(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) < 2 {
                    hint::spin_loop();
                }
                files.remove_all();
                fs::read_dir(folder.0.path()).expect("a folder").count()
            };
            let left = thread::scope(|scope| {
                let other = scope.spawn(end);
                [end(), other.join().expect("no panic")]
            });
            assert_eq!(left, [0, 0]);
        }
    }

    /// A file is known from its first moment on: an end that comes while it is made waits until it is, and nothing is
    /// made after it.
    #[test]
    fn no_end_comes_between_making_a_file_and_knowing_it() {
        let (folder, files) = (Folder::new(), files());
        let making = AtomicUsize::new(0);
        thread::scope(|scope| {
            let end = scope.spawn(|| {
                while making.load(Ordering::SeqCst) == 0 {
                    hint::spin_loop();
                }
                files.remove_all();
                folder.at("made").exists()
            });
            let made = files.create(|| {
                making.store(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                let file = File::create(folder.at("made"))?;
                Ok(((), folder.at("made"), Identity::of(&file)?))
            });
            assert!(made.is_ok() && !end.join().expect("no panic"));
        });
        assert!(files.create(|| -> io::Result<((), PathBuf, Identity)> { unreachable!("nothing is made") }).is_err());
    }

    /// An end that meets an orderly one finds the file in the list as long as it is there.
    #[test]
    fn a_file_is_forgotten_only_when_it_is_removed() {
        let (folder, files) = (Folder::new(), files());
        let (own, _file) = folder.write(files, "kept");
        // Another change of the list is under way: the value cannot be forgotten yet.
        let list = files.list();
        let dropped = thread::spawn(move || drop(own));
        // Nothing is measured by it.
        let deadline = Instant::now() + Duration::from_secs(60);
        while folder.at("kept").exists() {
            assert!(Instant::now() < deadline, "it would be forgotten first");
            thread::yield_now();
        }
        drop(list);
        dropped.join().expect("no panic");
    }

    #[test]
    fn a_file_at_two_paths_goes_from_both() {
        let (folder, files) = (Folder::new(), files());
        let (one, _file) = folder.write(files, "one");
        let _other = one.also_at(&folder.at("other")).expect("claimed");
        fs::hard_link(folder.at("one"), folder.at("other")).expect("linked");
        drop(one);
        assert!(!folder.at("one").exists() && folder.at("other").exists());
        files.remove_all();
        assert!(!folder.at("other").exists());
    }

    #[test]
    fn what_is_not_there_cannot_be_claimed() {
        assert!(OwnFile::claim(&Folder::new().at("never")).is_err());
    }
}
