//! Every listening socket of the program, bound before any thread starts, so that an address in use costs nothing but a
//! sentence. Owns the sockets until they are handed to the threads, and the addresses that they really have.

use std::net::{SocketAddr, TcpListener};

use halley_service::config::value::address::ListenAddress;
use halley_service::failure::{Cause, Failure};
use halley_service::listen::{ListenError, UnixSocket, listen_alone};
use halley_service::open_files;
use halley_service::serve::fit::Fit;
use halley_service::serve::servers::AdminListener;

use super::serving;
use super::settings::Config;

/// Sockets, with their addresses: port 0 is replaced by the real one.
pub(super) struct Bound {
    /// Pushing over HTTP.
    pub(super) http: Vec<TcpListener>,
    /// Pushing over gRPC.
    pub(super) grpc: Vec<TcpListener>,
    /// The admin side alone.
    pub(super) admin: Vec<AdminListener>,
    /// Where each is, by the name of its setting without `_listen`.
    pub(super) addresses: Vec<(&'static str, Vec<String>)>,
    /// How many connections each may have.
    pub(super) fit: Fit,
}

impl Bound {
    /// Bind everything that is configured. The first address that fails ends it.
    pub(super) fn new(config: &Config) -> Result<Bound, Failure> {
        let general = &config.general;
        // Asked before anything is opened, so that one sentence has the whole answer.
        let fit = serving::fit(config, open_files::raise()).map_err(|error| Failure::new(Cause::Kernel, error))?;
        let http = listen("http_listen", &general.http_listen)?;
        let grpc = listen("grpc_listen", &general.grpc_listen)?;
        let (mut admin, mut admin_addresses) = (Vec::new(), Vec::new());
        for address in &general.admin_listen {
            let (listener, shown) = match address {
                ListenAddress::Tcp(tcp) => {
                    let socket = listen("admin_listen", &[*tcp])?.remove(0);
                    let shown = local_address(&socket)?;
                    (AdminListener::Tcp(socket), shown)
                }
                ListenAddress::Unix(path) => {
                    let socket = UnixSocket::listen(path).map_err(|error| named("admin_listen", error))?;
                    (AdminListener::Unix(socket), address.to_string())
                }
            };
            admin.push(listener);
            admin_addresses.push(shown);
        }
        let shown = |sockets: &[TcpListener]| sockets.iter().map(local_address).collect::<Result<Vec<_>, _>>();
        let addresses = vec![("http", shown(&http)?), ("grpc", shown(&grpc)?), ("admin", admin_addresses)];
        Ok(Bound { http, grpc, admin, addresses, fit })
    }
}

fn listen(setting: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let one = |address: &SocketAddr| listen_alone(*address, false).map_err(|error| named(setting, error));
    addresses.iter().map(one).collect()
}

/// The failure of a setting.
fn named(setting: &str, error: ListenError) -> Failure {
    let Failure { cause, sentence } = Failure::from(error);
    Failure { cause, sentence: format!("{setting}: {sentence}") }
}

fn local_address(socket: &TcpListener) -> Result<String, Failure> {
    socket.local_addr().map(|address| address.to_string()).map_err(|error| Failure::new(Cause::Kernel, error))
}
