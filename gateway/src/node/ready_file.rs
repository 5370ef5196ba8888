//! The file that tells programs where the gateway listens while it serves. Owns its being there whole or not at all, readable by
//! its owner only, and never another process's: it is locked as long as this process lives, so that a later start can tell what a
//! dead one left behind from what a living one serves by.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use halley_service::own_files::{Identity, OwnFile};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tempfile::NamedTempFile;

use super::listeners::Addresses;
use crate::failure::{Cause, Failure};

/// See the module.
#[derive(Debug)]
pub struct ReadyFile(Option<Prepared>);

/// A file under another name, until it is written.
#[derive(Debug)]
struct Prepared {
    path: PathBuf,
    /// The same as `file`, for an end that drops nothing.
    temporary: OwnFile,
    file: NamedTempFile,
}

/// The file of a gateway that serves. It goes away with the value.
#[derive(Debug)]
pub struct Written {
    _file: OwnFile,
    /// Holds the lock.
    _lock: File,
}

impl ReadyFile {
    /// Make sure that the file can be written, and that what a dead process left at its path is gone; an empty path means no
    /// file. What a living one has there stays until [`ReadyFile::write`] takes its place.
    pub fn prepare(path: &Path) -> Result<ReadyFile, Failure> {
        if path.as_os_str().is_empty() {
            return Ok(ReadyFile(None));
        }
        let prepared = remove_stale(path).and_then(|()| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().unwrap_or_default();
            let mut prefix = std::ffi::OsString::from(".");
            prefix.push(name);
            // Made anew whatever it is called, so it follows no link; readable by this user only.
            let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            let temporary = OwnFile::claim_for(file.path(), file.as_file())?;
            Ok(Prepared { path: path.to_owned(), temporary, file })
        });
        prepared.map(|prepared| ReadyFile(Some(prepared))).map_err(|error| unwritable(path, &error))
    }

    /// Write the file, and put it in its place.
    pub fn write(self, addresses: &Addresses) -> Result<Option<Written>, Failure> {
        let Some(Prepared { path, temporary, mut file }) = self.0 else { return Ok(None) };
        let mut text = serde_json::to_string(addresses).map_err(|error| Failure::new(Cause::Runtime, error))?;
        text.push('\n');
        let written = file.write_all(text.as_bytes()).and_then(|()| {
            // Before it is there: an end meanwhile must find it at either name.
            let own = OwnFile::claim_for(&path, file.as_file())?;
            let lock = file.persist(&path).map_err(|error| error.error)?;
            temporary.disown();
            Ok(Written { _file: own, _lock: lock })
        });
        written.map(Some).map_err(|error| unwritable(&path, &error))
    }
}

/// Remove the file of a process that lives no more. That of a living one stays, as does what is no file: a device must not be
/// replaced because a configuration names it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => return Ok(()),
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no file is there"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // What may not be looked at is another user's; taking its place fails, or is allowed.
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return Ok(()) };
    // Shared: an exclusive lock on what is open for reading is refused by NFS.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Identity::of(&file)?.remove(path),
        Err(_) => Ok(()),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    let error = error.to_string();
    // The library names its temporary path, which nobody has asked for.
    let error = error.split(" at path ").next().unwrap_or(&error);
    Failure::new(
        Cause::Usage,
        format_args!("cannot write ready_file {path}: {error}; its directory must exist and be writable"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path) -> Option<Written> {
        ReadyFile::prepare(path).and_then(|file| file.write(&Addresses::default())).expect("written")
    }

    /// The file is for its owner, a link in its place is replaced and not followed, and nothing else is left in the folder.
    #[test]
    fn the_file_is_its_owners_and_follows_no_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, target) = (folder.path().join("ready.json"), folder.path().join("target"));
        std::fs::write(&target, "another's").expect("written");
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        let written = write(&path);
        let about = std::fs::symlink_metadata(&path).expect("it is there");
        assert!(about.is_file() && about.permissions().mode() & 0o077 == 0);
        assert_eq!(std::fs::read_to_string(&target).expect("still there"), "another's");
        drop(written);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "the target alone");
    }

    /// What a dead process left is gone at once; what a living one has stays until its successor is ready, and is the successor's
    /// then, whoever of the two ends first.
    #[test]
    fn only_a_dead_ones_file_is_removed_early() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        std::fs::write(&path, "a dead one's").expect("written");
        let first = ReadyFile::prepare(&path).expect("prepared");
        assert!(!path.exists());
        let first = first.write(&Addresses::default()).expect("written");
        drop(ReadyFile::prepare(&path).expect("a start that fails later"));
        assert!(path.exists(), "the living one serves by it");
        let second = write(&path);
        drop(first);
        assert!(path.exists(), "the second serves by it");
        drop(second);
        assert!(!path.exists());
    }

    /// A rename would put the file in its place.
    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe");
        for path in [&path, Path::new("/dev/null"), folder.path()] {
            let refusal = ReadyFile::prepare(path).expect_err("no file");
            assert!(refusal.sentence.contains("no file is there"), "{}", refusal.sentence);
            assert!(!std::fs::symlink_metadata(path).expect("still there").is_file());
        }
    }

    #[test]
    fn without_a_folder_nothing_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let refusal = ReadyFile::prepare(&folder.path().join("missing/ready.json")).expect_err("no folder");
        assert!(refusal.sentence.contains("its directory must exist"), "{}", refusal.sentence);
        assert!(ReadyFile::prepare(Path::new("")).expect("none").write(&Addresses::default()).expect("none").is_none());
    }
}
