//! Where a program is in its life. Owns the state that `/readyz` answers from, and the loop that carries out what the
//! operator wants; what a reload and a drain do is the program's.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::notify;
use crate::signals::{Wish, Wishes};

/// Where a program is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every listener accepts yet.
    Starting,
    /// Serving.
    Serving,
    /// Sending its peers elsewhere.
    Draining,
}

impl Phase {
    /// As `/readyz` names it.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        }
    }
}

/// The phase, shared by who changes it, who answers `/readyz` and what ends with the drain; and what the program lacks
/// that it is not ready without.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<Life>);

#[derive(Debug)]
struct Life {
    phase: watch::Sender<Phase>,
    lack: watch::Sender<Option<Arc<str>>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle(Arc::new(Life { phase: watch::Sender::new(Phase::Starting), lack: watch::Sender::new(None) }))
    }
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Enter a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }

    /// Say what is lacking now, in a sentence, or that nothing is. The service manager shows it (`STATUS=`).
    pub fn lack(&self, what: Option<&str>) {
        let changed = self.0.lack.send_if_modified(|known| {
            let changed = known.as_deref() != what;
            if changed {
                *known = what.map(Arc::from);
            }
            changed
        });
        if changed {
            notify::status(what.unwrap_or_default());
        }
    }

    /// What is lacking now.
    pub fn lacks(&self) -> Option<Arc<str>> {
        self.0.lack.borrow().clone()
    }

    /// Resolves when the program drains.
    pub async fn draining(&self) {
        // The sender is held here, so waiting never fails.
        let _ = self.0.phase.subscribe().wait_for(|phase| *phase == Phase::Draining).await;
    }
}

/// Reload whenever the operator wants it, until the program is to stop. The service manager is told of both. A stop
/// does not wait for a reload that hangs: its future is dropped.
pub async fn until_stop(wishes: &mut Wishes, mut reload: impl AsyncFnMut()) {
    let mut wish = wishes.next().await;
    while wish == Wish::Reload {
        notify::reloading();
        wish = carry_out(reload(), wishes).await;
    }
    notify::stopping();
}

/// Finish a reload, and give the next wish, which may be one of meanwhile.
async fn carry_out(reload: impl Future<Output = ()>, wishes: &mut Wishes) -> Wish {
    let mut reload = pin!(reload);
    let mut again = false;
    loop {
        tokio::select! {
            () = &mut reload => break,
            wish = wishes.next() => match wish {
                Wish::Reload => again = true,
                Wish::Stop => return Wish::Stop,
            }
        }
    }
    notify::ready();
    if again { Wish::Reload } else { wishes.next().await }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    fn wishes(all: &[Wish]) -> (mpsc::Sender<Wish>, Wishes) {
        let (sender, receiver) = mpsc::channel(8);
        all.iter().for_each(|wish| sender.try_send(*wish).expect("room"));
        (sender, Wishes(receiver))
    }

    /// However many reloads are wished for during one, one more sees what they were about.
    #[tokio::test]
    async fn a_reload_that_is_wished_for_during_one_is_carried_out_after_it() {
        let (sender, mut wishes) = wishes(&[Wish::Reload]);
        let reloads = Cell::new(0);
        let reload = async || {
            reloads.set(reloads.get() + 1);
            let wish = if reloads.get() == 1 { Wish::Reload } else { Wish::Stop };
            (0..2).for_each(|_| sender.try_send(wish).expect("room"));
            // Until they are heard.
            while wish == Wish::Stop || sender.capacity() < 8 {
                tokio::task::yield_now().await;
            }
        };
        until_stop(&mut wishes, reload).await;
        assert_eq!(reloads.get(), 2);
    }

    #[tokio::test]
    async fn a_stop_waits_for_no_reload() {
        let (_sender, mut wishes) = wishes(&[Wish::Reload, Wish::Stop]);
        until_stop(&mut wishes, pending::<()>).await;
    }
}
