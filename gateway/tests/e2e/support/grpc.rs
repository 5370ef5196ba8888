//! A stock job's side of gRPC (goim §2.3), and our own push service: blocking calls over a small runtime.

use std::net::SocketAddr;

use halley_protocol::proto::goim_comet::comet_client::CometClient;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

use super::PATIENCE;

/// One HTTP/2 connection to a gateway.
pub struct Grpc {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Grpc {
    pub fn connect(to: SocketAddr) -> Grpc {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{to}")).expect("an address").timeout(PATIENCE);
        let channel = runtime.block_on(endpoint.connect()).expect("the gRPC listener accepts");
        Grpc { runtime, channel }
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The client a job is.
    pub fn comet(&self) -> CometClient<Channel> {
        CometClient::new(self.channel.clone())
    }

    /// The same, compressing as goim's comet does (goim §2.1).
    pub fn comet_gzip(&self) -> CometClient<Channel> {
        self.comet().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip)
    }

    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}
