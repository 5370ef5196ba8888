//! Whether the threads live that have no pulse of their own. Owns how shards and feed are asked: shards by the control
//! loop, feed by its door. Next step: `halley_service::health`, which answers for all threads.

use futures_util::future::join_all;
use halley_service::health::Others;

use super::handle::ControlHandle;
use crate::feed::intake::{Intake, Request};

/// The thread through which shards are asked.
pub const CONTROL: &str = "control";

/// The shards, `shard-0` and so on, and `feed`.
pub fn others(control: ControlHandle, intake: Intake) -> Vec<Others> {
    let shards = move || {
        let control = control.clone();
        Box::pin(async move { silent_shards(&control).await }) as _
    };
    let feed = move || {
        let intake = intake.clone();
        Box::pin(async move {
            let answered = intake.ask(|reply| Request::Totals { reply }).await;
            if answered.is_ok() { Vec::new() } else { vec!["feed".to_owned()] }
        }) as _
    };
    vec![Others { through: Some(CONTROL), ask: Box::new(shards) }, Others { through: None, ask: Box::new(feed) }]
}

async fn silent_shards(control: &ControlHandle) -> Vec<String> {
    let asked = (0..control.shards())
        .map(|shard| async move { (!control.is_turning(shard).await).then(|| format!("shard-{shard}")) });
    join_all(asked).await.into_iter().flatten().collect()
}
