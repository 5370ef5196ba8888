//! Listening sockets. Owns how they are bound, so that a port is shared between our own threads and with nobody else,
//! and the options that accepted connections inherit; accepts nothing itself. Whoever runs the process hands the
//! sockets to its threads.

mod error;

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::own_files::{Identity, OwnFile};

use error::failed;

pub use error::{Address, ListenError};

/// Times an address is tried before it counts as taken. Another process may take the free port that the kernel
/// picked; and of two that begin to listen in one instant each may see the other's attempt and fail, though neither
/// serves.
const TRIES: usize = 8;
/// Bytes of the longest path of a socket, without the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Random digits at the end of the name under which a socket is bound.
const RANDOM_DIGITS: usize = 6;
/// Longest wait between two of them; a random part of it sets the two apart.
const WAIT_MS_MAX: u64 = 16;

/// Options of accepted sockets, set on the listener and inherited.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Connections waiting to be accepted, per socket.
    pub backlog: i32,
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` and its times; `None` = off.
    pub keepalive: Option<TcpKeepalive>,
    /// `TCP_USER_TIMEOUT`; `None` = the kernel's rule.
    pub user_timeout: Option<Duration>,
    /// `SO_SNDBUF`; `None` = the kernel's tuning.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF`; `None` = the kernel's tuning.
    pub receive_buffer_bytes: Option<usize>,
    /// `IPV6_V6ONLY`.
    pub ipv6_only: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            backlog: 4096,
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            ipv6_only: false,
        }
    }
}

/// So many listeners on one address, one for each thread that accepts. Port 0 is picked once and used by all.
///
/// `SO_REUSEPORT` would let a second process of the same user share the port in silence. So the first socket listens
/// without it, which fails while anybody else listens there and keeps everybody else out from then on. Only after
/// that is the option set and the port shared with the other sockets, while the first one is held all the time.
pub fn listen_shared(
    address: SocketAddr,
    listeners: usize,
    options: &SocketOptions,
) -> Result<Vec<TcpListener>, ListenError> {
    let failed = failed(address);
    let first = tried(|| listen(client_socket(address, options)?, address, options.backlog)).map_err(&failed)?;
    let bound =
        first.local_addr().and_then(|bound| bound.as_socket().ok_or(ErrorKind::Unsupported.into())).map_err(&failed)?;
    first.set_reuse_port(true).map_err(&failed)?;
    let mut all = vec![TcpListener::from(first)];
    for _ in 1..listeners {
        let next = tried(|| {
            let socket = client_socket(address, options)?;
            socket.set_reuse_port(true)?;
            listen(socket, bound, options.backlog)
        })
        .map_err(&failed)?;
        all.push(TcpListener::from(next));
    }
    Ok(all)
}

/// An address that is ours and where nobody listens yet: connections to it are refused. It is for those who must know
/// early that they have it, and may let clients in late.
#[derive(Debug)]
pub struct BoundSockets {
    address: SocketAddr,
    /// The first is bound, the others are when the first listens.
    sockets: Vec<Arc<OwnedFd>>,
    backlog: i32,
}

/// As [`listen_shared`], but nobody listens before [`BoundSockets::listen`]. Until then no other process can have the
/// address, unless it had bound it before and does not listen on it either.
pub fn bind_shared(
    address: SocketAddr,
    listeners: usize,
    options: &SocketOptions,
) -> Result<BoundSockets, ListenError> {
    let failed = failed(address);
    let first = tried(|| bind_alone(client_socket(address, options)?, address)).map_err(&failed)?;
    let bound =
        first.local_addr().and_then(|bound| bound.as_socket().ok_or(ErrorKind::Unsupported.into())).map_err(&failed)?;
    let others = (1..listeners).map(|_| client_socket(address, options)).collect::<io::Result<Vec<_>>>();
    let others = others.map_err(&failed)?;
    let sockets = std::iter::once(first).chain(others).map(|socket| Arc::new(OwnedFd::from(socket))).collect();
    Ok(BoundSockets { address: bound, sockets, backlog: options.backlog })
}

/// Not reusable as long as it does not listen: so another process that would reuse the address is told that it is in
/// use. Only where connections of a predecessor linger there it must be reusable, or nobody could bind it.
fn bind_alone(socket: Socket, address: SocketAddr) -> io::Result<Socket> {
    let address = SockAddr::from(address);
    socket.set_reuse_address(false)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != ErrorKind::AddrInUse {
            return Err(error);
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address)?;
    }
    Ok(socket)
}

impl BoundSockets {
    /// The address, with the port that the kernel picked if none was named.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A socket for each thread that will accept.
    pub fn sockets(&self) -> &[Arc<OwnedFd>] {
        &self.sockets
    }

    /// Listen on all of them, in the order of [`listen_shared`].
    ///
    /// # Errors
    /// Another process has bound the address too, which none should.
    pub fn listen(&self) -> Result<(), ListenError> {
        let failed = failed(self.address);
        let Some((first, others)) = self.sockets.split_first() else { return Ok(()) };
        let first = SockRef::from(&**first);
        // Accepted connections inherit it: those that linger must not keep a successor from the address.
        first.set_reuse_address(true).map_err(&failed)?;
        tried(|| first.listen(self.backlog)).map_err(&failed)?;
        first.set_reuse_port(true).map_err(&failed)?;
        for other in others {
            let other = SockRef::from(&**other);
            other.set_reuse_port(true).map_err(&failed)?;
            tried(|| other.bind(&SockAddr::from(self.address))).map_err(&failed)?;
            tried(|| other.listen(self.backlog)).map_err(&failed)?;
        }
        Ok(())
    }
}

/// One listener for a server that runs on a runtime.
pub fn listen_alone(address: SocketAddr, ipv6_only: bool) -> Result<TcpListener, ListenError> {
    let options = SocketOptions { ipv6_only, ..SocketOptions::default() };
    tried(|| {
        let socket = client_socket(address, &options)?;
        socket.set_nonblocking(true)?;
        listen(socket, address, options.backlog)
    })
    .map(TcpListener::from)
    .map_err(failed(address))
}

/// Try again, up to a bound, while the address seems taken.
fn tried<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let random = RandomState::new().hash_one(());
                std::thread::sleep(Duration::from_millis(random % (WAIT_MS_MAX + 1)));
            }
            other => return other,
        }
    }
    attempt()
}

/// A bare socket with every option that connections inherit; buffer sizes count only when set before listening.
fn client_socket(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted process listen while connections of its predecessor are in TIME-WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(options.ipv6_only)?;
    }
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(keepalive) = &options.keepalive {
        socket.set_tcp_keepalive(keepalive)?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket)
}

fn listen(socket: Socket, address: SocketAddr, backlog: i32) -> io::Result<Socket> {
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// A Unix-domain listener whose socket file only this user may open. The file goes away with the value, unless a
/// successor has put its own in its place.
#[derive(Debug)]
pub struct UnixSocket {
    _file: OwnFile,
    /// The listener; it does not block.
    pub listener: UnixListener,
}

impl UnixSocket {
    /// Listen at `path`. A socket file that nobody listens on any more is replaced; every other file is left alone.
    /// The file is at its path only when it is listened on: whoever starts meanwhile would take it for one that is
    /// left behind.
    pub fn listen(path: &Path) -> Result<UnixSocket, ListenError> {
        let failed = failed(path);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            // It could be bound under a shorter name beside it, but nobody could connect to this one.
            return Err(ListenError::LongPath { at: path.to_owned(), bytes_max: SOCKET_PATH_BYTES_MAX });
        }
        remove_stale(path)?;
        let (listener, temporary) = bind_beside(path).map_err(&failed)?;
        let file = temporary.also_at(path).map_err(&failed)?;
        let socket = UnixSocket { _file: file, listener };
        for _ in 0..TRIES {
            match std::fs::hard_link(temporary.path(), path) {
                // Another one that starts; perhaps it has ended meanwhile.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => remove_stale(path)?,
                Err(error) => return Err(failed(error)),
                Ok(()) => return Ok(socket),
            }
        }
        Err(ListenError::InUse { at: path.into() })
    }
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = failed(path);
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !about.file_type().is_socket() {
        return Err(ListenError::NoSocket { at: path.to_owned() });
    }
    // Held open, so that what a successor puts there meanwhile is another file.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    let socket = socket.map_err(|error| failed(error.into()))?;
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Identity::of(&socket).and_then(|socket| socket.remove(path)).map_err(failed)
        }
        // So many connections wait there that one more would wait, too.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ListenError::InUse { at: path.into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => Err(ListenError::InUse { at: path.into() }),
    }
}

/// Whether somebody listens, without waiting for him.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// A listener under another name in the folder of `path`, which begins with a dot and its name, as far as there is
/// room.
fn bind_beside(path: &Path) -> io::Result<(UnixListener, OwnFile)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let room = SOCKET_PATH_BYTES_MAX.saturating_sub(folder.as_os_str().len() + "/..".len() + RANDOM_DIGITS);
    let ends = name.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let shown = &name[..ends.take_while(|end| *end <= room).last().unwrap_or(0)];
    let attempt = || {
        let random = RandomState::new().hash_one(()) & 0xff_ffff;
        let beside = folder.join(format!(".{shown}.{random:0digits$x}", digits = RANDOM_DIGITS));
        let listener = bind_private(&beside)?;
        Ok((listener, OwnFile::claim(&beside)?))
    };
    tried(attempt)
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The mode of the socket becomes that of its file, so nobody can open it before it is set.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from(socket))
}
