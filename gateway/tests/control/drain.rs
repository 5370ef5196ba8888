//! The order of a stop: pushes that were taken reach the shards while their clients are still there.

use std::sync::Arc;
use std::time::Duration;

use halley_gateway::control::drain::{Drain, Drained};
use halley_gateway::control::handle::ControlHandle;
use halley_gateway::mesh::msg::{ControlToShard, ShardToControl};
use halley_service::lifecycle::Lifecycle;
use tokio::sync::{mpsc, watch};

use crate::support::{start, within};

/// What happened, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    IngressStopped,
    BusEmpty,
    DrainOrdered,
    ReadingStopped,
}

fn drain(
    control: ControlHandle,
    bus_empty: Option<watch::Receiver<bool>>,
    steps: mpsc::UnboundedSender<Step>,
) -> Drain {
    let step = |step: Step| {
        let steps = steps.clone();
        Box::new(move || {
            let _ = steps.send(step);
        })
    };
    let (stop_ingress, stop_reading) = (step(Step::IngressStopped), step(Step::ReadingStopped));
    let (lifecycle, shut_doors) = (Lifecycle::default(), Box::new(|| ()));
    Drain { control, lifecycle, stop_ingress, shut_doors, bus_empty, stop_reading }
}

/// Run a drain over no time at all; `backlog` is the bus, which empties or not. A log that is shared is no such bus.
async fn steps(shared: bool, backlog: impl AsyncFnOnce(watch::Sender<bool>, mpsc::UnboundedSender<Step>)) -> Vec<Step> {
    let (control, mut shards) = start(1, 64, None);
    let mut shard = shards.remove(0);
    let (heard, mut steps) = mpsc::unbounded_channel();
    let (emptied, bus_empty) = watch::channel(false);
    let drain = drain(control, Some(bus_empty).filter(|_| !shared), heard.clone());
    let play = {
        let heard = heard.clone();
        async move {
            while !matches!(shard.hear().await, ControlToShard::Drain { over_ms: 0 }) {}
            let _ = heard.send(Step::DrainOrdered);
            shard.say(ShardToControl::Drained).await;
        }
    };
    let all = async { tokio::join!(drain.run(0), play, backlog(emptied, heard)) };
    let (drained, (), ()) = within(all).await;
    assert_eq!(drained, Drained::Clean);
    std::iter::from_fn(|| steps.try_recv().ok()).collect()
}

/// Clients are sent away when the last push has been handed over, not before.
#[tokio::test]
async fn the_bus_is_emptied_before_clients_are_sent_away() {
    let steps = steps(false, async |emptied, heard| {
        // Long enough for the order to be heard, if it were given now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = heard.send(Step::BusEmpty);
        emptied.send_replace(true);
    })
    .await;
    assert_eq!(steps, [Step::IngressStopped, Step::BusEmpty, Step::DrainOrdered, Step::ReadingStopped]);
}

/// A bus that does not empty, because a shard is stuck, does not keep everybody.
#[tokio::test]
async fn a_bus_that_does_not_empty_is_not_waited_for_for_ever() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    let steps = steps(false, async move |emptied, _| *keep.lock().expect("one holder") = Some(emptied)).await;
    assert_eq!(steps, [Step::IngressStopped, Step::DrainOrdered, Step::ReadingStopped]);
}

/// A log that others fill is read on until the last client is gone: nothing is waited for before clients are sent away.
#[tokio::test]
async fn a_shared_log_is_read_up_to_the_last_client() {
    let steps = steps(true, async |_, _| ()).await;
    assert_eq!(steps, [Step::IngressStopped, Step::DrainOrdered, Step::ReadingStopped]);
}
