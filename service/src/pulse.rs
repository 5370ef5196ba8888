//! Whether a thread still takes turns. Owns the question and its answer: a task on the thread's runtime answers as soon
//! as it is polled, so silence means that the thread does not come round. `health` asks.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// How long a question that one turn of a thread answers may wait, in milliseconds. A turn takes far less, so what does
/// not answer is stuck, or waits for what is.
pub const ANSWER_MS_MAX: u64 = 2_000;
/// Questions that may wait for a thread.
const QUESTIONS_MAX: usize = 64;

/// The asking end, cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The end that lives on the thread.
#[derive(Debug)]
pub struct PulseSource(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Both ends.
    pub fn new() -> (Pulse, PulseSource) {
        let (questions, receiver) = mpsc::channel(QUESTIONS_MAX);
        (Pulse(questions), PulseSource(receiver))
    }

    /// Whether the thread answers within [`ANSWER_MS_MAX`].
    pub async fn beats(&self) -> bool {
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.0.send(reply).await.ok()?;
            answer.await.ok()
        };
        matches!(tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), asked).await, Ok(Some(())))
    }
}

impl PulseSource {
    /// Answer until nobody can ask any more.
    pub async fn run(mut self) {
        while let Some(reply) = self.0.recv().await {
            // Who asked may have given up.
            let _ = reply.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_does_not_come_round_is_silent() {
        let (pulse, source) = Pulse::new();
        assert!(!pulse.beats().await);
        let many = futures_util::future::join_all((0..200).map(|_| pulse.beats())).await;
        assert!(!many.contains(&true), "who asks in vain waits a bounded time, however many do");
        tokio::spawn(source.run());
        assert!(pulse.beats().await);
    }
}
