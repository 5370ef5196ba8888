//! Makes a server send rounds. For the bare ring a round is one byte in its pipe; for the gateway it is what a job
//! does: `goim.comet.Comet/BroadcastRoom` over gRPC, the calls of a round in flight at once. Owns the gRPC connection
//! and its thread; how many rounds may be under way is decided by who counts the deliveries.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ChildStdin;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use bytes::Bytes;
use halley_protocol::proto::goim_comet::BroadcastRoomReq;
use halley_protocol::proto::goim_comet::comet_client::CometClient;
use halley_protocol::proto::goim_protocol::Proto;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::failure::{Doing, Failure, Result};
use crate::wire::{RAW_OP, Round};

/// Rounds that may wait for the gRPC thread; more are never released at once.
const ROUNDS_WAITING: usize = 1024;
/// How long one call may take.
const CALL: Duration = Duration::from_secs(60);

/// A way to make a server send rounds.
pub(crate) enum Push {
    /// One byte, one round.
    Pipe(ChildStdin),
    /// The gRPC thread, and what it has to complain about.
    Grpc {
        /// Takes one unit for each round.
        rounds: mpsc::Sender<()>,
        /// The first call that failed.
        failures: std_mpsc::Receiver<Failure>,
    },
}

impl Push {
    /// Through the standard input of the bare ring.
    pub(crate) fn pipe(input: ChildStdin) -> Push {
        Push::Pipe(input)
    }

    /// Through the gateway's gRPC listener, to one room.
    pub(crate) fn grpc(address: SocketAddr, round: Round, room: &str) -> Result<Push> {
        let (rounds, waiting) = mpsc::channel(ROUNDS_WAITING);
        let (complain, failures) = std_mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(|| "start pushing")?;
        let proto = Proto { ver: 1, op: RAW_OP, seq: 0, body: Bytes::from(round.push_body()) };
        let request = BroadcastRoomReq { room_id: room.to_owned(), proto: Some(proto) };
        std::thread::Builder::new()
            .name("push".to_owned())
            .spawn(move || {
                if let Err(failure) = runtime.block_on(push_rounds(address, round.pushes, request, waiting)) {
                    // Full means that an earlier failure is still to be read, which is enough.
                    let _ = complain.try_send(failure);
                }
            })
            .doing(|| "start pushing")?;
        Ok(Push::Grpc { rounds, failures })
    }

    /// Send one more round. Returns before it is delivered.
    pub(crate) fn release(&mut self) -> Result<()> {
        match self {
            Push::Pipe(input) => input.write_all(&[1]).doing(|| "tell the bare ring to send"),
            Push::Grpc { rounds, .. } => {
                // Closed means that the thread has failed, which `check` explains.
                let _ = rounds.try_send(());
                self.check()
            }
        }
    }

    /// An error when a push has failed.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Push::Pipe(_) => Ok(()),
            Push::Grpc { failures, .. } => match failures.try_recv() {
                Ok(failure) => Err(failure),
                Err(_) => Ok(()),
            },
        }
    }
}

async fn push_rounds(
    address: SocketAddr,
    pushes: u32,
    request: BroadcastRoomReq,
    mut waiting: mpsc::Receiver<()>,
) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).doing(|| "use the gRPC address")?.timeout(CALL);
    let channel = endpoint.connect().await.doing(|| format!("connect to gRPC at {address}"))?;
    while waiting.recv().await.is_some() {
        let calls: Vec<_> = (0..pushes).map(|_| tokio::spawn(call(channel.clone(), request.clone()))).collect();
        for call in calls {
            call.await.doing(|| "push over gRPC")??;
        }
    }
    Ok(())
}

async fn call(channel: Channel, request: BroadcastRoomReq) -> Result<()> {
    match CometClient::new(channel).broadcast_room(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(Failure::new(format!("BroadcastRoom was refused: {} {}", status.code(), status.message()))),
    }
}
