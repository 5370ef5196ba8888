//! The file that tells programs where the gateway listens while it serves. Owns its being there whole or not at all,
//! readable by its owner only, and never another process's: it is locked as long as this process lives, so that a later
//! start can tell what a dead one left behind from what a living one serves by. A file that no gateway has written is
//! neither removed nor replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use halley_service::failure::{Cause, Failure};
use halley_service::own_files::{Identity, OwnFile};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tempfile::NamedTempFile;

use super::listeners::Addresses;

/// Bytes of a file that are looked at to know it; more than the addresses of any gateway take.
const BYTES_MAX: u64 = 1024 * 1024;

/// What every gateway's file holds, whatever else another version adds.
const LISTS: [&str; 7] = ["tcp", "ws", "tls", "wss", "http", "grpc", "admin"];

/// The file before it is written; none where no path is configured.
#[derive(Debug)]
pub(super) struct ReadyFile(Option<Prepared>);

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
pub(super) struct Written {
    _file: OwnFile,
    /// Holds the lock.
    _lock: File,
}

impl ReadyFile {
    /// Make sure that the file can be written; an empty path means no file. Changes nothing of what is at its path, and
    /// refuses what no gateway can have put there.
    pub(super) fn prepare(path: &Path) -> Result<ReadyFile, Failure> {
        if path.as_os_str().is_empty() {
            return Ok(ReadyFile(None));
        }
        let prepared = there(path).and_then(|_| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().unwrap_or_default();
            let mut prefix = std::ffi::OsString::from(".");
            prefix.push(name);
            // Made anew whatever it is called, so it follows no link; readable by this user only.
            let (file, temporary) = OwnFile::create(|| {
                let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)?;
                let (path, identity) = (file.path().to_owned(), Identity::of(file.as_file())?);
                Ok((file, path, identity))
            })?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
            Ok(Prepared { path: path.to_owned(), temporary, file })
        });
        prepared.map(|prepared| ReadyFile(Some(prepared))).map_err(|fault| unwritable(path, &fault))
    }

    /// Remove what a dead process left at the path: to be called once our addresses are ours, since a start that fails
    /// takes nothing from anybody. What a living one has there stays until [`ReadyFile::write`] takes its place.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        let Some(Prepared { path, .. }) = &self.0 else { return Ok(()) };
        let cleared = match there(path) {
            Ok(There::Dead(file)) => Identity::of(&file).and_then(|file| file.remove(path)).map_err(Fault::from),
            Ok(There::Nothing | There::Living) => Ok(()),
            Err(fault) => Err(fault),
        };
        cleared.map_err(|fault| unwritable(path, &fault))
    }

    /// Write the file, and put it in its place.
    pub(super) fn write(self, addresses: &Addresses) -> Result<Option<Written>, Failure> {
        let Some(Prepared { path, temporary, mut file }) = self.0 else { return Ok(None) };
        let mut text = serde_json::to_string(addresses).map_err(|error| Failure::new(Cause::Runtime, error))?;
        text.push('\n');
        let written = file.write_all(text.as_bytes()).map_err(Fault::from).and_then(|()| {
            // Before it is there: an end meanwhile must find it at either name.
            let own = OwnFile::claim_for(&path, file.as_file())?;
            // It takes the place of a gateway's file, and of no other.
            there(&path)?;
            let lock = file.persist(&path).map_err(|error| error.error)?;
            temporary.disown();
            Ok(Written { _file: own, _lock: lock })
        });
        written.map(Some).map_err(|fault| unwritable(&path, &fault))
    }
}

/// Why the file cannot be written.
#[derive(Debug)]
enum Fault {
    /// A file that no gateway has written is there.
    Foreign,
    /// A file is there that we may not read, and so cannot know.
    Unknown(io::Error),
    /// Something else than a file is there: a device must not be replaced because a configuration names it.
    NoFile,
    /// What the system says.
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::System(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cure = "name another path, or remove it";
        match self {
            Fault::Foreign => write!(f, "the file that is there is not a gateway's: {cure}"),
            Fault::Unknown(error) => write!(f, "whose the file is that is there cannot be seen, {error}: {cure}"),
            Fault::NoFile => write!(f, "something that is no file is there: {cure}"),
            Fault::System(error) => {
                let error = error.to_string();
                // The library names its temporary path, which nobody has asked for.
                let error = error.split(" at path ").next().unwrap_or(&error);
                write!(f, "{error}; its directory must exist and be writable")
            }
        }
    }
}

/// What is at the path of the file and may be replaced.
#[derive(Debug)]
enum There {
    /// Nothing, or a link, which is not followed.
    Nothing,
    /// The file of a gateway that lives no more, or one that holds nothing: a new one that somebody made for us, or
    /// what a machine that lost its power has left of it.
    Dead(File),
    /// That of a gateway that serves by it.
    Living,
}

fn there(path: &Path) -> Result<There, Fault> {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => return Ok(There::Nothing),
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(error.into()),
    };
    if !about.is_file() {
        return Err(Fault::NoFile);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(Fault::Unknown(error)),
    };
    // Shared: an exclusive lock on what is open for reading is refused by NFS.
    let held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
    let mut text = Vec::new();
    (&file).take(BYTES_MAX).read_to_end(&mut text).map_err(Fault::Unknown)?;
    match (is_ours(&text), held) {
        (true, true) => Ok(There::Living),
        (true, false) => Ok(There::Dead(file)),
        // One that holds nothing and is held is somebody's lock.
        (false, false) if text.is_empty() => Ok(There::Dead(file)),
        (false, _) => Err(Fault::Foreign),
    }
}

/// Whether a gateway of any version has written this.
fn is_ours(text: &[u8]) -> bool {
    let lists: Result<BTreeMap<String, serde_json::Value>, _> = serde_json::from_slice(text);
    lists.is_ok_and(|lists| LISTS.iter().all(|name| lists.get(*name).is_some_and(serde_json::Value::is_array)))
}

fn unwritable(path: &Path, fault: &Fault) -> Failure {
    Failure::new(Cause::Usage, format_args!("cannot write ready_file {}: {fault}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path) -> Option<Written> {
        let prepared = ReadyFile::prepare(path).expect("prepared");
        prepared.clear().and_then(|()| prepared.write(&Addresses::default())).expect("written")
    }

    /// What a process leaves that ends without a say in it.
    fn left_by_a_dead_one() -> String {
        serde_json::to_string(&Addresses::default()).expect("JSON")
    }

    /// The file is for its owner, a link in its place is replaced and not followed, and nothing else is left in the
    /// folder.
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

    /// What a dead process left is gone at once; what a living one has stays until its successor is ready, and is the
    /// successor's then, whoever of the two ends first.
    #[test]
    fn only_a_dead_ones_file_is_removed_early() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        std::fs::write(&path, left_by_a_dead_one()).expect("written");
        let first = ReadyFile::prepare(&path).expect("prepared");
        assert!(path.exists(), "its start may fail yet");
        first.clear().expect("cleared");
        assert!(!path.exists());
        let first = first.write(&Addresses::default()).expect("written");
        let failing = ReadyFile::prepare(&path).expect("a start that fails later");
        failing.clear().expect("nothing to clear");
        drop(failing);
        assert!(path.exists(), "the living one serves by it");
        let second = write(&path);
        drop(first);
        assert!(path.exists(), "the second serves by it");
        drop(second);
        assert!(!path.exists());
    }

    /// A path may be mistyped: what no gateway has written stays, whenever it came and whoever holds it.
    #[test]
    fn a_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        let mut lacking: serde_json::Value = serde_json::from_str(&left_by_a_dead_one()).expect("JSON");
        lacking.as_object_mut().expect("an object").remove("admin");
        let other =
            serde_json::json!({ "tcp": 1, "ws": [], "tls": [], "wss": [], "http": [], "grpc": [], "admin": [] });
        for text in ["precious", "{}", "[]", "\n", &lacking.to_string(), &other.to_string()] {
            let prepared = ReadyFile::prepare(&path).expect("nothing is there");
            let writing = ReadyFile::prepare(&path).expect("nothing is there");
            std::fs::write(&path, text).expect("written");
            let refusals =
                [ReadyFile::prepare(&path).map(drop), prepared.clear(), writing.write(&Addresses::default()).map(drop)];
            for refusal in refusals.map(|result| result.expect_err(text)) {
                assert!(refusal.sentence.contains("not a gateway's: name another path"), "{}", refusal.sentence);
            }
            assert_eq!(std::fs::read_to_string(&path).expect("it stays"), text);
            std::fs::remove_file(&path).expect("removed");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        let held = File::create(&path).expect("a lock");
        flock(&held, FlockOperation::LockExclusive).expect("locked");
        ReadyFile::prepare(&path).map(drop).expect_err("somebody's lock");
        drop(held);
        drop(write(&path).expect("a file that was made for it"));
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
