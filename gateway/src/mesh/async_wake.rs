//! The doorbell as a tokio thread sleeps on it. Owns the registration of its eventfd with the runtime; the order of
//! sleep flag and last look stays with the caller, as `wake` describes it. Used by `feed::node` and `control::node`.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wake::Doorbell;

/// Owns its doorbell, so the descriptor stays open as long as the registration.
struct Bell(Arc<Doorbell>);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.event().as_fd().as_raw_fd()
    }
}

/// One doorbell, registered with the runtime of the thread that made it.
pub struct AsyncDoorbell(AsyncFd<Bell>);

impl AsyncDoorbell {
    /// Register with the current runtime. Fails when the runtime cannot poll one more descriptor.
    pub fn new(doorbell: Arc<Doorbell>) -> std::io::Result<AsyncDoorbell> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may close or change their descriptor; ours does neither"
        )]
        AsyncFd::with_interest(Bell(doorbell), Interest::READABLE).map(AsyncDoorbell)
    }

    /// Wait until somebody rings. A ring from before the call may end it early; none is missed. Cancel safe.
    pub async fn rung(&self) -> std::io::Result<()> {
        // The registration is edge-triggered: each ring is an edge, so the count in the eventfd needs no reading.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
