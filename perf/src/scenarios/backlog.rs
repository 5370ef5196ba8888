//! A backlog: how fast a gateway that was away brings the records of a Kafka topic to its shards. Owns the standstill
//! (the gateway is stopped with a signal while the topic is filled, so nothing but reading is measured), the reckoning,
//! and the rule that a run counts only when every record was read once and every one that concerns somebody reached a
//! shard. The clients do not accept the pushes' op, so that sockets are not measured.

use std::path::Path;
use std::time::{Duration, Instant};

use halley_protocol::push::Target;
use rustix::process::{Pid, Signal, kill_process};

use crate::clients::fleet::{self, Plan};
use crate::clients::records::VALUE_BYTES;
use crate::clients::topic::{Batching, Topic};
use crate::failure::{Doing, Failure, Result};
use crate::report::{self, Table};
use crate::server::metrics::Metrics;
use crate::server::usage::{CpuSpent, CpuTime};
use crate::server::{Program, Server, Setup};
use crate::stats::{Spread, number, ratio};
use crate::wire::{Round, Transport, key_of};

/// Nothing is pushed by the server's own side; servers are started with a round all the same.
const NO_ROUND: Round = Round { pushes: 1, frames_per_push: 1, body_bytes: 0 };
/// An op that no client of ours accepts.
const UNHEARD_OP: i32 = 1001;
/// Where only some records concern somebody here, one in so many.
const HERE_EVERY: u64 = 100;
/// Names that are not here, for the others.
const ELSEWHERE: u64 = 1_000_000;
/// Between two looks at the gateway's counters.
const LOOK: Duration = Duration::from_millis(50);
/// Without any progress for so long the run has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// A broker.
    #[arg(long)]
    pub kafka: String,
    /// The topic there, which must exist; records are added to it.
    #[arg(long, default_value = "goim-push-topic")]
    pub topic: String,
    /// What the report says of that broker.
    #[arg(long)]
    pub kafka_is: Option<String>,
    /// Clients, each with a key and a user of its own.
    #[arg(long, default_value_t = 1_000)]
    pub clients: u32,
    /// Records of a backlog in large batches.
    #[arg(long, default_value_t = 2_000_000)]
    pub records: u64,
    /// Records of a backlog with one record a batch.
    #[arg(long, default_value_t = 200_000)]
    pub single_records: u64,
    /// How often each is measured; the report has medians and what they lie between.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// One kind of backlog.
#[derive(Clone, Copy, Debug)]
struct Kind {
    records: u64,
    batching: Batching,
    /// One record in so many concerns somebody here.
    here_every: u64,
}

/// What one round came to.
struct Brought {
    took: Duration,
    batches: f64,
    fed: f64,
    spent: CpuSpent,
}

/// What the gateway counts of its log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    records: f64,
    batches: f64,
    filtered: f64,
    fed: f64,
    taken: f64,
    lag: f64,
    /// Gaps, skipped and unreadable records, missing offsets: there must be none.
    wrong: f64,
}

/// A process that was stopped; goes on with the end of this value.
struct Stopped(Pid);

/// Measure; returns the body of a report.
pub(crate) fn run(gateway: &Path, options: &Options) -> Result<String> {
    if options.clients == 0 || options.records == 0 || options.single_records == 0 || options.rounds == 0 {
        return Err(Failure::new("clients, records and rounds must be above 0"));
    }
    fleet::make_room_for(u64::from(options.clients))?;
    let mut server = start(gateway, options)?;
    let plan =
        Plan { address: server.address()?, transport: Transport::Tcp, clients: options.clients, room_members: 1 };
    let _clients = fleet::connect(&plan)?;
    let topic = Topic::open(&options.kafka, &options.topic)?;
    let mut table = Table::new(&[
        "concern somebody here",
        "records",
        "records a batch",
        "passed the filter",
        "records a second",
        "a CPU-second of dispatch",
        "a CPU-second of the gateway",
        "ns of dispatch",
        "ns of feed",
        "ns of the shard",
    ]);
    for here_every in [1, HERE_EVERY] {
        for (records, batching) in [(options.records, Batching::Full), (options.single_records, Batching::Single)] {
            let kind = Kind { records, batching, here_every };
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                rounds.push(round(&mut server, &topic, options.clients, kind)?);
            }
            table.row(&row(kind, &rounds));
        }
    }
    let what = options.kafka_is.as_deref().unwrap_or("a broker that ran already");
    Ok(format!(
        "Gateway {} with one shard and {} clients, the log in Kafka at {} ({what}), all on the same CPUs. The gateway \
         is stopped while the topic is filled with values of {} bytes, keys and users in turn, and then goes on: from \
         there until its counters say that all was read, and what concerns somebody here was taken by the shard. \
         The clients do not accept the op. Medians of {} rounds, and what they lie between; CPU time of the gateway's \
         threads, user and system, is a record's share.\n\n{table}",
        gateway.display(),
        options.clients,
        options.kafka,
        VALUE_BYTES,
        options.rounds
    ))
}

fn start(gateway: &Path, options: &Options) -> Result<Server> {
    let setup = Setup {
        transport: Transport::Tcp,
        shards: 1,
        connections_max: options.clients + 16,
        settings: vec![
            format!("kafka.brokers={}", options.kafka),
            format!("kafka.topic={}", options.topic),
            // However far it is behind, nothing is left out.
            "kafka.catchup_max_seconds=0".to_owned(),
            "kafka.catchup_max_records=0".to_owned(),
        ],
    };
    Server::start(&Program::Gateway(gateway.to_path_buf()), &setup, NO_ROUND)
}

/// Fill the topic while the gateway stands still, let it go on, and wait until it has brought everything.
fn round(server: &mut Server, topic: &Topic, clients: u32, kind: Kind) -> Result<Brought> {
    let admin = server.admin().ok_or_else(|| Failure::new("the server's ready file names no admin address"))?;
    let before = Counted::of(&Metrics::fetch(admin)?)?;
    let stopped = Stopped::now(server.pid())?;
    let filled = Instant::now();
    topic.fill((0..kind.records).map(|index| target(index, kind.here_every, clients)), UNHEARD_OP, kind.batching)?;
    let rate = ratio(number(kind.records), filled.elapsed().as_secs_f64());
    report::progress(&format!("{} records written, {rate:.0} a second", kind.records));
    let idle = CpuTime::of(server.pid())?;
    let began = Instant::now();
    drop(stopped);
    let here = kind.records.div_ceil(kind.here_every);
    let (mut last, mut moved) = (before, Instant::now());
    loop {
        std::thread::sleep(LOOK);
        server.check()?;
        let now = Counted::of(&Metrics::fetch(admin)?)?;
        let since = now.since(&before);
        if since.wrong > 0.0 {
            return Err(Failure::new(format!("the gateway left records out: {since:?}")));
        }
        if since.records >= number(kind.records) && since.taken >= number(here) && now.lag == 0.0 {
            since.check(kind.records, here)?;
            let took = began.elapsed();
            let spent = CpuTime::of(server.pid())?.since(&idle);
            let rate = ratio(number(kind.records), took.as_secs_f64());
            report::progress(&format!("{} records brought, {rate:.0} a second", kind.records));
            return Ok(Brought { took, batches: since.batches, fed: since.fed, spent });
        }
        if now != last {
            (last, moved) = (now, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            return Err(Failure::new(format!("the gateway reads no further: {since:?}")));
        }
    }
}

/// Whom a record is for: one in `here_every` is for a client, the others for names that are not here; keys and users in
/// turn.
fn target(index: u64, here_every: u64, clients: u32) -> Target {
    let name = match index % here_every {
        0 => index / here_every % u64::from(clients),
        _ => u64::from(clients) + index * 7_919 % ELSEWHERE,
    };
    let name = u32::try_from(name).expect("a small number");
    match index / here_every % 2 {
        0 => Target::Keys(vec![key_of(name)]),
        _ => Target::Mids(vec![i64::from(name) + 1]),
    }
}

fn row(kind: Kind, rounds: &[Brought]) -> Vec<String> {
    let records = number(kind.records);
    let spread = |of: &dyn Fn(&Brought) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>());
    let shown = |of: &dyn Fn(&Brought) -> f64| match spread(of) {
        Some(Spread { min, median, max }) => format!("{median:.0} ({min:.0} to {max:.0})"),
        None => "none".to_owned(),
    };
    let thread_ns = |brought: &Brought, name: &str| {
        let of = brought.spent.threads.iter().filter(|(thread, _)| thread.starts_with(name));
        number(of.map(|(_, ns)| ns).sum::<u64>()) / records
    };
    vec![
        format!("1 in {}", kind.here_every),
        kind.records.to_string(),
        shown(&|brought| ratio(records, brought.batches)),
        format!("{:.2} %", spread(&|brought| 100.0 * ratio(brought.fed, records)).map_or(0.0, |passed| passed.median)),
        shown(&|brought| ratio(records, brought.took.as_secs_f64())),
        shown(&|brought| ratio(1e9, thread_ns(brought, "dispatch"))),
        shown(&|brought| ratio(records * 1e9, number(brought.spent.total_ns))),
        shown(&|brought| thread_ns(brought, "dispatch")),
        shown(&|brought| thread_ns(brought, "feed")),
        shown(&|brought| thread_ns(brought, "shard")),
    ]
}

impl Counted {
    fn of(metrics: &Metrics) -> Result<Counted> {
        let wrong = ["gaps", "skipped", "unreadable", "missing_offsets"];
        let wrong: Result<Vec<f64>> =
            wrong.iter().map(|name| metrics.sum(&format!("halley_log_{name}_total"))).collect();
        Ok(Counted {
            records: metrics.sum("halley_log_records_total")?,
            batches: metrics.sum("halley_log_read_batches_total")?,
            filtered: metrics.sum("halley_log_filtered_total")?,
            fed: metrics.sum("halley_feed_pushes_total")?,
            taken: metrics.sum("halley_push_latency_seconds_count")?,
            lag: metrics.sum("halley_log_lag_records")?,
            wrong: wrong?.iter().sum(),
        })
    }

    /// An error unless every record was read once, and each that concerns somebody here reached the shard once. The
    /// filter may let others pass, which feed then finds nobody for.
    fn check(&self, records: u64, here: u64) -> Result<()> {
        let is_whole = self.records == number(records) && self.filtered + self.fed == number(records);
        if is_whole && self.taken == number(here) {
            return Ok(());
        }
        Err(Failure::new(format!("not each of {records} records came once, {here} of them to the shard: {self:?}")))
    }

    /// What was counted since; the lag stays that of now.
    fn since(&self, before: &Counted) -> Counted {
        Counted {
            records: self.records - before.records,
            batches: self.batches - before.batches,
            filtered: self.filtered - before.filtered,
            fed: self.fed - before.fed,
            taken: self.taken - before.taken,
            lag: self.lag,
            wrong: self.wrong - before.wrong,
        }
    }
}

impl Stopped {
    fn now(pid: u32) -> Result<Stopped> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| Failure::new("no process"))?;
        kill_process(pid, Signal::STOP).doing(|| "stop the gateway")?;
        Ok(Stopped(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended; whoever looks after it says so.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many records as are said to be are for clients, of which each gets some; the others are for nobody.
    #[test]
    fn one_record_in_so_many_is_for_a_client() {
        for here_every in [1, HERE_EVERY] {
            let clients: Vec<Target> = (0..3)
                .flat_map(|client| [Target::Keys(vec![key_of(client)]), Target::Mids(vec![i64::from(client) + 1])])
                .collect();
            let targets: Vec<Target> = (0..here_every * 12).map(|index| target(index, here_every, 3)).collect();
            let here = targets.iter().filter(|target| clients.contains(target)).count();
            assert_eq!(here, 12, "one in {here_every}");
            assert!(clients.iter().all(|client| targets.contains(client)), "one in {here_every}");
        }
    }
}
