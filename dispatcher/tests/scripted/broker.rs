//! A broker on a socket that does as it is told. Owns its connections and what it was asked; a script decides what it
//! does with each request. Ends with its [`Broker`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::kafka::wire::api::Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::words::{Asked, metadata, versions};

/// What a broker does with a request.
pub enum Reaction {
    /// Answers with this frame.
    Answer(Bytes),
    /// Answers with this frame after a while; what follows waits.
    Late(Duration, Bytes),
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Close,
    /// Writes this and closes the connection.
    Last(Bytes),
}

/// What to do with a request; `None` = as a well broker does, see [`well`].
type Script = dyn Fn(&Asked) -> Option<Reaction> + Send + Sync;

/// A listening broker, node 1 of its cluster.
pub struct Broker {
    /// Where it is.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<(usize, Asked)>>>,
    tasks: JoinSet<()>,
}

impl Broker {
    /// Begin to listen.
    pub async fn start(script: impl Fn(&Asked) -> Option<Reaction> + Send + Sync + 'static) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&asked), Arc::new(script)));
        Broker { address, asked, tasks }
    }

    /// What it was asked of this kind, in order, each with the number of its connection.
    pub fn asked(&self, api: Api) -> Vec<(usize, Asked)> {
        let asked = self.asked.lock().expect("nobody panicked");
        asked.iter().filter(|(_, asked)| asked.api == api).cloned().collect()
    }

    /// Settings that begin with it.
    pub fn settings(&self) -> Settings {
        Settings::new(vec![self.address.to_string()])
    }

    /// Stop listening and close every connection.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(listener: TcpListener, asked: Arc<Mutex<Vec<(usize, Asked)>>>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    let port = listener.local_addr().expect("bound").port();
    for number in 0.. {
        let (socket, _) = listener.accept().await.expect("a connection");
        connections.spawn(serve(socket, number, port, Arc::clone(&asked), Arc::clone(&script)));
    }
}

async fn serve(
    mut socket: TcpStream,
    number: usize,
    port: u16,
    log: Arc<Mutex<Vec<(usize, Asked)>>>,
    script: Arc<Script>,
) {
    while let Ok(length) = socket.read_i32().await {
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        if socket.read_exact(&mut frame).await.is_err() {
            return;
        }
        let asked = Asked::read(frame.into());
        log.lock().expect("nobody panicked").push((number, asked.clone()));
        let reaction = script(&asked).or_else(|| well(&asked, port)).unwrap_or(Reaction::Silence);
        let (answer, last) = match reaction {
            Reaction::Answer(answer) => (answer, false),
            Reaction::Late(after, answer) => {
                tokio::time::sleep(after).await;
                (answer, false)
            }
            Reaction::Silence => (Bytes::new(), false),
            Reaction::Close => return,
            Reaction::Last(answer) => (answer, true),
        };
        if socket.write_all(&answer).await.is_err() || last {
            return;
        }
    }
}

/// A broker that is well says what it speaks, and that it is alone with two partitions.
fn well(asked: &Asked, port: u16) -> Option<Reaction> {
    match asked.api {
        Api::ApiVersions => Some(Reaction::Answer(asked.answer(&versions()))),
        Api::Metadata => Some(Reaction::Answer(asked.answer(&metadata(&[(1, "127.0.0.1", port)], 2)))),
        _ => None,
    }
}
