//! Why an address cannot be listened on. Owns the closed list of reasons and what a person is told to do about each.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::failure::{Cause, Failure};

/// Where somebody wanted to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// At the socket file of this path.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody else listens there, perhaps another process of ours.
    InUse {
        /// The address.
        at: Address,
    },
    /// The process, or the system, has no file descriptor left.
    NoDescriptor {
        /// The address.
        at: Address,
    },
    /// No interface of this machine has the address.
    NoInterface {
        /// The address.
        at: Address,
        /// What the system says.
        error: io::Error,
    },
    /// The process has no right to this port or folder.
    NotPermitted {
        /// The address.
        at: Address,
        /// What the system says.
        error: io::Error,
    },
    /// The file at the path is no socket, and stays as it is.
    NoSocket {
        /// The path.
        at: PathBuf,
    },
    /// The path is longer than a socket's may be.
    LongPath {
        /// The path.
        at: PathBuf,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// Anything else that the system says.
    System {
        /// The address.
        at: Address,
        /// What it says.
        error: io::Error,
    },
}

/// What an error of the system means for listening at this address.
pub(super) fn failed(at: impl Into<Address>) -> impl Fn(io::Error) -> ListenError {
    let at = at.into();
    move |error| {
        let at = at.clone();
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            return ListenError::NoDescriptor { at };
        }
        match error.kind() {
            ErrorKind::AddrInUse => ListenError::InUse { at },
            ErrorKind::AddrNotAvailable => ListenError::NoInterface { at, error },
            ErrorKind::PermissionDenied => ListenError::NotPermitted { at, error },
            _ => ListenError::System { at, error },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::InUse { at } => {
                write!(f, "{at} is already served by another process, perhaps another gateway: ")?;
                match at {
                    Address::Tcp(address) => write!(f, "`ss -ltnp 'sport = :{}'`", address.port())?,
                    // What a process of ours has bound was bound under another name, which holds this one.
                    Address::Unix(path) => {
                        let name = path.file_name().unwrap_or(path.as_os_str());
                        write!(f, "`ss -lxp | grep -F {}`", name.display())?;
                    }
                }
                f.write_str(" shows which; stop it or listen elsewhere")
            }
            ListenError::NoDescriptor { at } => write!(
                f,
                "no file descriptor is left to listen on {at}: raise the limit on open files (LimitNOFILE= in systemd, \
                 or `ulimit -n`)"
            ),
            ListenError::NoInterface { at, error } => {
                write!(f, "cannot listen on {at}: {error}: no interface of this machine has this address")
            }
            ListenError::NotPermitted { at, error } => write!(
                f,
                "cannot listen on {at}: {error}: ports below 1024 need CAP_NET_BIND_SERVICE, or a lower \
                 net.ipv4.ip_unprivileged_port_start"
            ),
            ListenError::NoSocket { at } => {
                write!(f, "cannot listen on {}: the file exists and is no socket: name another", at.display())
            }
            ListenError::LongPath { at, bytes_max } => write!(
                f,
                "cannot listen on {}: the path of a socket has at most {bytes_max} bytes, name a shorter one",
                at.display()
            ),
            ListenError::System { at, error } => write!(f, "cannot listen on {at}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Failure {
        let cause = match error {
            ListenError::InUse { .. } => Cause::AddressInUse,
            ListenError::NoDescriptor { .. } => Cause::Kernel,
            ListenError::NoInterface { .. }
            | ListenError::NotPermitted { .. }
            | ListenError::NoSocket { .. }
            | ListenError::LongPath { .. }
            | ListenError::System { .. } => Cause::Usage,
        };
        Failure::new(cause, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators look for these sentences.
    #[test]
    fn each_reason_says_what_to_do() {
        let tcp = || failed(SocketAddr::from(([127, 0, 0, 1], 80)));
        let unix = || failed(Path::new("/run/halley.sock"));
        let os = io::Error::from_raw_os_error;
        for (error, sentence, cause) in [
            (
                tcp()(os(libc::EADDRINUSE)),
                "127.0.0.1:80 is already served by another process, perhaps another gateway: `ss -ltnp 'sport = :80'` \
                 shows which; stop it or listen elsewhere",
                Cause::AddressInUse,
            ),
            (
                unix()(os(libc::EADDRINUSE)),
                "/run/halley.sock is already served by another process, perhaps another gateway: `ss -lxp | grep -F \
                 halley.sock` shows which; stop it or listen elsewhere",
                Cause::AddressInUse,
            ),
            (
                tcp()(os(libc::EMFILE)),
                "no file descriptor is left to listen on 127.0.0.1:80: raise the limit on open files (LimitNOFILE= in \
                 systemd, or `ulimit -n`)",
                Cause::Kernel,
            ),
            (
                tcp()(os(libc::EADDRNOTAVAIL)),
                "cannot listen on 127.0.0.1:80: Cannot assign requested address (os error 99): no interface of this \
                 machine has this address",
                Cause::Usage,
            ),
            (
                tcp()(os(libc::EACCES)),
                "cannot listen on 127.0.0.1:80: Permission denied (os error 13): ports below 1024 need \
                 CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start",
                Cause::Usage,
            ),
            (
                ListenError::NoSocket { at: "/run/halley.sock".into() },
                "cannot listen on /run/halley.sock: the file exists and is no socket: name another",
                Cause::Usage,
            ),
            (
                unix()(os(libc::ENOENT)),
                "cannot listen on /run/halley.sock: No such file or directory (os error 2)",
                Cause::Usage,
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.sentence.as_str(), failure.cause), (sentence, cause));
        }
    }
}
