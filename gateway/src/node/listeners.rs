//! Every listening socket of the process, bound before any thread starts, so that an address in use costs nothing but a
//! sentence. Owns the sockets until they are split among the threads, and the addresses that they really have.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use halley_service::config::value::address::ListenAddress;
use halley_service::failure::{Cause, Failure};
use halley_service::serve::servers::AdminListener;
use serde::Serialize;

use crate::config::{Config, convert};
use crate::shard::{Listener, Transport};
use crate::standalone::Bound;
use halley_service::listen::{BoundSockets, ListenError, UnixSocket, bind_shared, listen_alone, listen_shared};

/// Bound addresses by what is served on them, as the ready file holds them. Port 0 is replaced by the real one.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Addresses {
    /// Clients over TCP.
    pub tcp: Vec<SocketAddr>,
    /// Clients over WebSocket.
    pub ws: Vec<SocketAddr>,
    /// Clients over TCP inside TLS.
    pub tls: Vec<SocketAddr>,
    /// Clients over WebSocket inside TLS.
    pub wss: Vec<SocketAddr>,
    /// Pushing over HTTP.
    pub http: Vec<SocketAddr>,
    /// gRPC.
    pub grpc: Vec<SocketAddr>,
    /// The admin side alone: addresses, or `unix:/path`.
    pub admin: Vec<String>,
}

impl Addresses {
    /// What the dispatcher tells others.
    pub(super) fn bound(&self) -> Bound {
        let first = |list: &[SocketAddr]| list.first().copied();
        Bound { tcp: first(&self.tcp), ws: first(&self.ws), wss: first(&self.wss), grpc: first(&self.grpc) }
    }
}

/// Sockets of clients, the same for every shard but in another order.
#[derive(Debug)]
pub(super) struct ShardSockets {
    /// By shard: a socket per address, with what is spoken there.
    by_shard: Vec<Vec<(Listener, Arc<OwnedFd>)>>,
}

impl ShardSockets {
    /// A shard's own sockets, then those of its neighbours.
    pub(super) fn of(&self, shard: usize) -> Vec<(Listener, Arc<OwnedFd>)> {
        let neighbours =
            self.by_shard.iter().enumerate().filter(|(index, _)| *index != shard).flat_map(|(_, list)| list);
        self.by_shard[shard].iter().chain(neighbours).cloned().collect()
    }

    /// What shuts all of them.
    pub(super) fn doors(&self) -> ClientDoors {
        ClientDoors(self.by_shard.iter().flatten().map(|(_, socket)| Arc::clone(socket)).collect())
    }
}

/// Ends listening for clients, for all shards at once.
#[derive(Debug)]
pub(super) struct ClientDoors(Vec<Arc<OwnedFd>>);

impl ClientDoors {
    /// Refuse new connections in the kernel, and reset those that wait unaccepted. Without it the kernel would go on
    /// completing connections that nobody takes. Accepts under way end with `EINVAL`, so the shards should have been
    /// told to stop before.
    pub(super) fn shut(&self) {
        for socket in &self.0 {
            if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Read) {
                tracing::warn!(%error, "a listener cannot be shut: its clients wait until the process ends");
            }
        }
    }
}

/// Sockets of the servers on a runtime.
#[derive(Debug)]
pub(super) struct ServiceSockets {
    /// Pushing over HTTP.
    pub http: Vec<TcpListener>,
    /// gRPC.
    pub grpc: Vec<TcpListener>,
    /// The admin side alone.
    pub admin: Vec<AdminListener>,
}

/// Addresses of clients that are bound and not listened on yet, each with its setting.
#[derive(Debug)]
pub(super) struct ClosedDoors(Vec<(&'static str, BoundSockets)>);

impl ClosedDoors {
    /// Listen on all of them.
    pub(super) fn open(&self) -> Result<(), Failure> {
        self.0.iter().try_for_each(|(setting, sockets)| sockets.listen().map_err(|error| named(setting, error)))
    }
}

/// All sockets of the process, bound and not yet served.
#[derive(Debug)]
pub(super) struct Listeners {
    shards: ShardSockets,
    /// Where clients may come only later.
    closed: Option<ClosedDoors>,
    services: ServiceSockets,
    addresses: Addresses,
}

impl Listeners {
    /// Bind everything that is configured, and listen, but for clients where a log must be read before they come (rule
    /// S1 of the log). The first address that fails ends it.
    pub(super) fn bind(config: &Config, shards: usize) -> Result<Listeners, Failure> {
        let general = &config.general;
        let options = convert::socket_options(config);
        let mut by_shard: Vec<Vec<(Listener, Arc<OwnedFd>)>> = vec![Vec::new(); shards];
        let mut closed = config.kafka.is_used().then(|| ClosedDoors(Vec::new()));
        let mut client = |setting: &'static str, list: &[SocketAddr], transport: Transport, tls: bool| {
            let mut bound = Vec::new();
            for &address in list {
                let sockets = match &mut closed {
                    None => {
                        let sockets =
                            listen_shared(address, shards, &options).map_err(|error| named(setting, error))?;
                        bound.push(local_address(&sockets[0])?);
                        sockets.into_iter().map(|socket| Arc::new(OwnedFd::from(socket))).collect()
                    }
                    Some(ClosedDoors(closed)) => {
                        let sockets = bind_shared(address, shards, &options).map_err(|error| named(setting, error))?;
                        bound.push(sockets.address());
                        let all = sockets.sockets().to_vec();
                        closed.push((setting, sockets));
                        all
                    }
                };
                for ((owner, own), socket) in (0..).zip(&mut by_shard).zip(sockets) {
                    own.push((Listener { owner, transport, tls }, socket));
                }
            }
            Ok::<_, Failure>(bound)
        };
        let mut addresses = Addresses {
            tcp: client("tcp_listen", &general.tcp_listen, Transport::Tcp, false)?,
            ws: client("ws_listen", &general.ws_listen, Transport::WebSocket, false)?,
            tls: client("tls_listen", &general.tls_listen, Transport::Tcp, true)?,
            wss: client("wss_listen", &general.wss_listen, Transport::WebSocket, true)?,
            ..Addresses::default()
        };
        let service = |setting: &str, list: &[SocketAddr], addresses: &mut Vec<SocketAddr>| {
            list.iter()
                .map(|&address| {
                    let socket =
                        listen_alone(address, config.sockets.ipv6_only).map_err(|error| named(setting, error))?;
                    addresses.push(local_address(&socket)?);
                    Ok(socket)
                })
                .collect::<Result<Vec<_>, Failure>>()
        };
        let http = service("http_listen", &general.http_listen, &mut addresses.http)?;
        let grpc = service("grpc_listen", &general.grpc_listen, &mut addresses.grpc)?;
        let mut admin = Vec::new();
        for address in &general.admin_listen {
            admin.push(match address {
                ListenAddress::Tcp(tcp) => {
                    let mut bound = Vec::new();
                    let socket = service("admin_listen", &[*tcp], &mut bound)?.remove(0);
                    addresses.admin.push(bound[0].to_string());
                    AdminListener::Tcp(socket)
                }
                ListenAddress::Unix(path) => {
                    let socket = UnixSocket::listen(path).map_err(|error| named("admin_listen", error))?;
                    addresses.admin.push(address.to_string());
                    AdminListener::Unix(socket)
                }
            });
        }
        let services = ServiceSockets { http, grpc, admin };
        Ok(Listeners { shards: ShardSockets { by_shard }, closed, services, addresses })
    }

    /// The addresses that clients reach.
    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What is to be opened later, if it is not open.
    pub(super) fn take_closed(&mut self) -> Option<ClosedDoors> {
        self.closed.take()
    }

    /// The sockets, for the threads.
    pub(super) fn split(self) -> (ShardSockets, ServiceSockets) {
        (self.shards, self.services)
    }
}

/// Listeners that each shard has, and those of the process, as configured.
pub(super) fn count(config: &Config) -> (usize, usize) {
    let general = &config.general;
    let clients = [&general.tcp_listen, &general.ws_listen, &general.tls_listen, &general.wss_listen];
    let others = general.http_listen.len() + general.grpc_listen.len() + general.admin_listen.len();
    (clients.iter().map(|list| list.len()).sum(), others)
}

/// The failure of a setting.
fn named(setting: &str, error: ListenError) -> Failure {
    let Failure { cause, sentence } = Failure::from(error);
    Failure { cause, sentence: format!("{setting}: {sentence}") }
}

fn local_address(socket: &TcpListener) -> Result<SocketAddr, Failure> {
    socket.local_addr().map_err(|error| Failure::new(Cause::Kernel, error))
}
