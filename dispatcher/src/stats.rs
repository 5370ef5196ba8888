//! What the dispatcher counts. Owns the counters and their metric labels; renders nothing: the gateway's `/metrics`
//! reads them. Written by the ingress and the consumer; a reader sees each number, not one instant.

use halley_protocol::push::Target;
use halley_service::counters::Counter;

/// What a push is addressed to, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One connection key or several.
    Keys,
    /// One user or several.
    Mids,
    /// One room.
    Room,
    /// Everybody who accepts the op.
    All,
}

/// How a push request ended, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On the bus.
    Accepted,
    /// Only counted, as asked.
    DryRun,
    /// Something in it is wrong or over a bound.
    Invalid,
    /// A record of it is longer than the log takes.
    TooLarge,
    /// The bus was full, in records or bytes.
    Full,
    /// The log could not be written to; nothing of it appears.
    Unavailable,
    /// Nobody said in time whether the log has it; it may appear once.
    Unknown,
    /// The dispatcher is stopping, or the gateways are gone.
    Stopping,
}

impl Kind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Kind; 4] = [Kind::Keys, Kind::Mids, Kind::Room, Kind::All];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Keys => "keys",
            Kind::Mids => "mids",
            Kind::Room => "room",
            Kind::All => "all",
        }
    }
}

impl From<&Target> for Kind {
    fn from(target: &Target) -> Kind {
        match target {
            Target::Keys(_) => Kind::Keys,
            Target::Mids(_) => Kind::Mids,
            Target::Room(_) => Kind::Room,
            Target::All { .. } => Kind::All,
        }
    }
}

impl Outcome {
    /// Every outcome, in the order of the discriminants.
    pub const ALL: [Outcome; 8] = [
        Outcome::Accepted,
        Outcome::DryRun,
        Outcome::Invalid,
        Outcome::TooLarge,
        Outcome::Full,
        Outcome::Unavailable,
        Outcome::Unknown,
        Outcome::Stopping,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::DryRun => "dry_run",
            Outcome::Invalid => "invalid",
            Outcome::TooLarge => "too_large",
            Outcome::Full => "bus_full",
            Outcome::Unavailable => "unavailable",
            Outcome::Unknown => "unknown",
            Outcome::Stopping => "stopping",
        }
    }
}

/// The counters, all ascending.
#[derive(Debug, Default)]
pub struct Stats {
    pushes: [[Counter; Outcome::ALL.len()]; Kind::ALL.len()],
    accepted_bytes: Counter,
    matched: Counter,
    delivered: Counter,
    batches: Counter,
}

impl Stats {
    /// Pushes of one kind that ended so.
    pub fn pushes(&self, kind: Kind, outcome: Outcome) -> u64 {
        self.pushes[kind as usize][outcome as usize].get()
    }

    /// Message bytes of accepted pushes.
    pub fn accepted_bytes(&self) -> u64 {
        self.accepted_bytes.get()
    }

    /// Connections matched, over the pushes that asked for the number.
    pub fn matched(&self) -> u64 {
        self.matched.get()
    }

    /// Records accepted by the gateway.
    pub fn delivered_records(&self) -> u64 {
        self.delivered.get()
    }

    /// Hand-overs they took: batches of records, each accepted as one.
    pub fn delivered_batches(&self) -> u64 {
        self.batches.get()
    }

    pub(crate) fn push(&self, kind: Kind, outcome: Outcome, body_bytes: usize) {
        self.pushes[kind as usize][outcome as usize].add(1);
        if outcome == Outcome::Accepted {
            self.accepted_bytes.add(u64::try_from(body_bytes).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn add_matched(&self, connections: u64) {
        self.matched.add(connections);
    }

    pub(crate) fn delivered(&self, records: u64) {
        self.delivered.add(records);
        self.batches.add(1);
    }
}
