//! What systemd is told, if it started us (`Type=notify`): ready, reloading, stopping, and that the process still works
//! (`WatchdogSec=`). Owns only that; without systemd nothing happens here.

use std::time::Instant;

use sd_notify::NotifyState;

use crate::health::Health;

/// Every listener accepts, or a reload is over.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What a person is shown of this process (`systemctl status`), in one line; empty when there is nothing to say.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    // systemd wants the time with it (sd_notify(3)), without which it would not take the message.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The program stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Say again and again that the process works, as long as every thread answers. Ends at once when nobody asked for
/// that.
pub async fn watch(health: &Health) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    // Half the time, as sd_watchdog_enabled(3) recommends.
    let mut every = tokio::time::interval(within / 2);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if health.stuck_threads(Instant::now()).await.is_empty() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager about this process");
    }
}
