//! The order of a stop: pushes that were taken reach the shards while their clients are still there.

use std::sync::Arc;
use std::time::Duration;

use halley_gateway::control::drain::{Bus, Drain, Drained, Publishing};
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
    Answered,
}

fn drain(control: ControlHandle, bus: Bus, steps: mpsc::UnboundedSender<Step>) -> Drain {
    let step = |step: Step| {
        let steps = steps.clone();
        Box::new(move || {
            let _ = steps.send(step);
        })
    };
    let (stop_ingress, stop_reading) = (step(Step::IngressStopped), step(Step::ReadingStopped));
    let (lifecycle, shut_doors) = (Lifecycle::default(), Box::new(|| ()));
    Drain { control, lifecycle, stop_ingress, shut_doors, bus, stop_reading }
}

/// A log of our own, which becomes empty or not.
fn own(empty: watch::Receiver<bool>) -> Bus {
    Bus::Own(empty)
}

/// A log that others have too, and three pushes on their way into it, which are answered or not.
fn shared(answered: watch::Receiver<bool>) -> Bus {
    Bus::Shared(Publishing { answered, within_ms: 100, waiting: Box::new(|| 3) })
}

/// Run a drain over no time at all; `backlog` says when the bus is done with, or never. What happened, and how it
/// ended.
async fn steps(
    bus: impl FnOnce(watch::Receiver<bool>) -> Bus,
    backlog: impl AsyncFnOnce(watch::Sender<bool>, mpsc::UnboundedSender<Step>),
) -> (Vec<Step>, Drained) {
    let (control, mut shards) = start(1, 64, None);
    let mut shard = shards.remove(0);
    let (heard, mut steps) = mpsc::unbounded_channel();
    let (done, is_done) = watch::channel(false);
    let drain = drain(control, bus(is_done), heard.clone());
    let play = {
        let heard = heard.clone();
        async move {
            while !matches!(shard.hear().await, ControlToShard::Drain { over_ms: 0 }) {}
            let _ = heard.send(Step::DrainOrdered);
            shard.say(ShardToControl::Drained).await;
        }
    };
    let all = async { tokio::join!(drain.run(0), play, backlog(done, heard)) };
    let (drained, (), ()) = within(all).await;
    (std::iter::from_fn(|| steps.try_recv().ok()).collect(), drained)
}

/// Clients are sent away when the last push has been handed over, not before.
#[tokio::test]
async fn the_bus_is_emptied_before_clients_are_sent_away() {
    let (steps, drained) = steps(own, async |emptied, heard| {
        // Long enough for the order to be heard, if it were given now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = heard.send(Step::BusEmpty);
        emptied.send_replace(true);
    })
    .await;
    assert_eq!(steps, [Step::IngressStopped, Step::BusEmpty, Step::DrainOrdered, Step::ReadingStopped]);
    assert_eq!(drained, Drained::default());
}

/// A bus that does not empty, because a shard is stuck, does not keep everybody.
#[tokio::test]
async fn a_bus_that_does_not_empty_is_not_waited_for_for_ever() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    let (steps, drained) = steps(own, async move |emptied, _| *keep.lock().expect("one holder") = Some(emptied)).await;
    assert_eq!(drained, Drained::default());
    assert_eq!(steps, [Step::IngressStopped, Step::DrainOrdered, Step::ReadingStopped]);
}

/// S5: a log that others fill is read on until the last client is gone: nothing is waited for before clients are sent
/// away, and own pushes are answered before the drain ends.
#[tokio::test]
async fn s5_a_shared_log_is_read_up_to_the_last_client_and_own_pushes_are_answered() {
    let (steps, drained) = steps(shared, async |answered, heard| {
        // Long enough for the drain to end, if nobody waited; the time is up much later.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = heard.send(Step::Answered);
        answered.send_replace(true);
    })
    .await;
    assert_eq!(steps, [Step::IngressStopped, Step::DrainOrdered, Step::ReadingStopped, Step::Answered]);
    assert_eq!(drained, Drained::default());
}

/// S5: a push that is never answered does not keep the process: the drain ends after its time, and says how many are in
/// doubt.
#[tokio::test]
async fn s5_pushes_that_are_never_answered_are_counted_as_in_doubt() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    let (_, drained) = steps(shared, async move |answered, _| *keep.lock().expect("one holder") = Some(answered)).await;
    assert_eq!(drained, Drained { left: Vec::new(), in_doubt: 3 });
}
