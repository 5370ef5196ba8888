//! Step 2 of a push on its way out: the door that pushes come in by. Owns what every transport shares: the bounds on a
//! push, the way onto the bus, the answer. Knows neither HTTP nor gRPC: [`http`] and [`grpc`] translate. Delivers
//! nothing itself. [`access`] names what one must be allowed; [`admit`] says what a push may be, [`refused`] why it was
//! not taken. Next step: [`crate::bus`].

pub mod access;
pub mod admit;
mod groups;
pub mod grpc;
pub mod http;
pub mod refused;

use std::sync::Arc;
use std::time::Duration;

use halley_protocol::push::Push;
use halley_service::access::rules::AccessRules;

use crate::bus::{Position, Producer};
use crate::gateways::{Gateway, NoAnswer};
use crate::receipts::Receipts;
use crate::stats::{Kind, Outcome, Stats};
use admit::Limits;
pub use refused::{ONLY_HERE, PushError};

/// How long an answer waits for the number of matched connections before it goes out without it.
pub const MATCHED_WAIT: Duration = Duration::from_secs(2);

/// The answer to a push whose caller wants to know more than that it is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The push's id: where it is on the bus.
    pub id: Position,
    /// Connections given the push; `None` when nobody said within [`MATCHED_WAIT`], and over a log that others read.
    pub matched: Option<u64>,
}

/// Over how many gateways a number is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountScope {
    /// All that read the log.
    #[default]
    Cluster,
    /// The one in this process.
    Gateway,
}

/// The ingress, shared by its transports.
pub struct Ingress {
    bus: Arc<dyn Producer>,
    gateway: Arc<dyn Gateway>,
    receipts: Arc<Receipts>,
    stats: Arc<Stats>,
    limits: Limits,
    access: AccessRules,
    server_id: String,
}

impl Ingress {
    /// Publishes on `bus`; `gateway` serves dry runs; `server_id` is written into pushes to keys, for stock jobs: empty
    /// where none shall deliver them.
    pub fn new(
        bus: Arc<dyn Producer>,
        gateway: Arc<dyn Gateway>,
        receipts: Arc<Receipts>,
        stats: Arc<Stats>,
        limits: Limits,
        access: AccessRules,
        server_id: String,
    ) -> Ingress {
        Ingress { bus, gateway, receipts, stats, limits, access, server_id }
    }

    /// The bounds on one push, the same for every transport.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was taken and delivered, since start.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// The bus, to see what waits on it.
    pub fn bus(&self) -> &dyn Producer {
        &*self.bus
    }

    /// Who may push and ask; a reload replaces it in place.
    pub fn access(&self) -> &AccessRules {
        &self.access
    }

    /// Take no further push; those taken are still delivered.
    pub fn stop(&self) {
        self.bus.close();
    }

    /// Put a push on the bus. Success means that it will be handed to the gateways, in order.
    pub async fn push(&self, push: Push) -> Result<Position, PushError> {
        self.publish(push, 0).await
    }

    /// Whether what is known here of a number over so many gateways is all of it.
    ///
    /// # Errors
    /// [`PushError::OnlyHere`]: other gateways read the log, and nobody here knows what they would add.
    pub fn check_scope(&self, scope: CountScope) -> Result<(), PushError> {
        if self.bus.is_shared() && scope == CountScope::Cluster { Err(PushError::OnlyHere) } else { Ok(()) }
    }

    /// As [`Ingress::push`], and wait to hear how many connections it matched. Over a shared log nobody will say, and
    /// nobody waits.
    pub async fn push_counted(&self, push: Push) -> Result<Pushed, PushError> {
        if self.bus.is_shared() {
            return Ok(Pushed { id: self.publish(push, 0).await?, matched: None });
        }
        let receipt = self.receipts.open();
        let id = self.publish(push, receipt.as_ref().map_or(0, |receipt| receipt.id())).await?;
        let matched = match receipt {
            Some(receipt) => receipt.matched(MATCHED_WAIT).await,
            None => None,
        };
        self.stats.add_matched(matched.unwrap_or(0));
        Ok(Pushed { id, matched })
    }

    /// How many connections a push would match now, of as many gateways. Sends nothing and does not touch the bus. A
    /// push that would be refused for what it is, is refused here too; one whose message is empty stands for one with
    /// any message.
    pub async fn dry_run(&self, push: Push, scope: CountScope) -> Result<Option<u64>, PushError> {
        let kind = Kind::from(&push.target);
        let outcome = match self.check_scope(scope) {
            Ok(()) => self.count(push).await,
            Err(error) => Err(error),
        };
        let ended = outcome.as_ref().map_or_else(PushError::outcome, |_| Outcome::DryRun);
        self.stats.push(kind, ended, 0);
        outcome
    }

    async fn count(&self, push: Push) -> Result<Option<u64>, PushError> {
        let Push { target, op, body } = push;
        self.limits.check(&target, body.len())?;
        if !body.is_empty() {
            Limits::check_message(op, &body)?;
        }
        match tokio::time::timeout(MATCHED_WAIT, self.gateway.matched(target, op)).await {
            Ok(Ok(matched)) => Ok(Some(matched)),
            Ok(Err(NoAnswer::Gone)) => Err(PushError::Stopping),
            Ok(Err(NoAnswer::TimedOut)) | Err(_) => Ok(None),
        }
    }

    async fn publish(&self, push: Push, receipt: u64) -> Result<Position, PushError> {
        let kind = Kind::from(&push.target);
        let body_bytes = push.body.len();
        let outcome = self.admit_and_publish(push, receipt).await;
        let ended = outcome.as_ref().map_or_else(PushError::outcome, |_| Outcome::Accepted);
        self.stats.push(kind, ended, body_bytes);
        outcome
    }

    async fn admit_and_publish(&self, push: Push, receipt: u64) -> Result<Position, PushError> {
        self.limits.check(&push.target, push.body.len())?;
        Limits::check_message(push.op, &push.body)?;
        let records = groups::records(&*self.bus, push, &self.server_id, receipt)?;
        Ok(*self.bus.publish(records).await?.first().expect("a position for each record"))
    }
}
