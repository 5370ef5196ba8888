//! How long a push takes from the moment it is meant to be sent over HTTP to the bytes in its client's hands, at steady
//! rates, through an embedded log, through Kafka, or through any goim-compatible server that runs already. Owns the
//! reckoning and the rule that a run counts only when every client got every push of its own once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clients::arrivals::{Arrival, Arrivals};
use crate::clients::fleet::{self, Plan};
use crate::clients::pushers::{Aim, Schedule};
use crate::failure::{Failure, Result};
use crate::report::{self, Table};
use crate::server::{Program, Server, Setup};
use crate::stats::Spread;
use crate::wire::{Round, Transport};

/// Nothing is pushed by the server's own side; servers are started with a round all the same.
const NO_ROUND: Round = Round { pushes: 1, frames_per_push: 1, body_bytes: 0 };
/// From the last push to the end of the run.
const GRACE: Duration = Duration::from_secs(2);
/// From now to the first push.
const LEAD: Duration = Duration::from_millis(200);
/// Pushes before anything is measured, so that connections and caches are as they will be.
const WARM_PUSHES: u64 = 50;

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Clients over TCP, each with a key of its own, all in one room.
    #[arg(long, default_value_t = 50)]
    pub clients: u32,
    /// Pushes a second to keys.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    pub key_rates: Vec<u64>,
    /// Pushes a second to the room.
    #[arg(long, value_delimiter = ',', default_value = "10,100,500")]
    pub room_rates: Vec<u64>,
    /// How long each rate is held.
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// How often all of it is measured; the report has medians and what they lie between.
    #[arg(long, default_value_t = 1)]
    pub runs: usize,
    /// As many whole runs before, which do not count: brokers compile themselves as they go.
    #[arg(long, default_value_t = 0)]
    pub warm_runs: usize,
    /// A broker: the gateway reads and writes Kafka. Without it the log is embedded.
    #[arg(long)]
    pub kafka: Option<String>,
    /// The topic there, which must exist.
    #[arg(long, default_value = "goim-push-topic", requires = "kafka")]
    pub topic: String,
    /// What the report says of that broker.
    #[arg(long, requires = "kafka")]
    pub kafka_is: Option<String>,
    /// Push through a server that runs already, over HTTP at this address; needs --tcp.
    #[arg(long, requires = "tcp")]
    pub http: Option<SocketAddr>,
    /// Where clients of that server connect.
    #[arg(long, requires = "http")]
    pub tcp: Option<SocketAddr>,
}

/// One rate, and what each run that counts came to.
struct Rate {
    aim: Aim,
    rate: u64,
    runs: Vec<Run>,
}

/// What one run of one rate came to; times in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Run {
    deliveries: usize,
    p50: f64,
    p99: f64,
    longest: f64,
    late_p99: f64,
}

/// Measure; returns the body of a report.
pub(crate) fn run(gateway: &Path, options: &Options) -> Result<String> {
    let is_none = options.clients == 0 || options.seconds == 0 || options.runs == 0;
    if is_none || options.key_rates.iter().chain(&options.room_rates).any(|rate| *rate == 0) {
        return Err(Failure::new("clients, rates, seconds and runs must be above 0"));
    }
    fleet::make_room_for(u64::from(options.clients))?;
    let (mut server, http, tcp) = match (options.http, options.tcp) {
        (Some(http), Some(tcp)) => (None, http, tcp),
        _ => {
            let mut server = start(gateway, options)?;
            let (http, tcp) = (server.http()?, server.address()?);
            server.check()?;
            (Some(server), http, tcp)
        }
    };
    let keys = options.key_rates.iter().map(|&rate| (Aim::Keys { clients: options.clients }, rate));
    let rooms = options.room_rates.iter().map(|&rate| (Aim::Room, rate));
    let mut rates: Vec<Rate> = keys.chain(rooms).map(|(aim, rate)| Rate { aim, rate, runs: Vec::new() }).collect();
    for number in 0..options.warm_runs + options.runs {
        report::progress(&format!("run {} of {}", number + 1, options.warm_runs + options.runs));
        for Rate { aim, rate, runs } in &mut rates {
            measure(http, tcp, options.clients, *aim, *rate, WARM_PUSHES)?;
            let run = measure(http, tcp, options.clients, *aim, *rate, *rate * options.seconds)?;
            if let Some(server) = &mut server {
                server.check()?;
            }
            report::progress(&format!("{} at {rate} a second: {run:.2?} ms", title(*aim)));
            if number >= options.warm_runs {
                runs.push(run);
            }
        }
    }
    let through = match (&options.http, &options.kafka) {
        (Some(http), _) => format!("a server that ran already, at {http}"),
        (None, Some(broker)) => {
            let what = options.kafka_is.as_deref().unwrap_or("a broker that ran already");
            format!("gateway {}, the log in Kafka at {broker} ({what})", gateway.display())
        }
        (None, None) => format!("gateway {}, the log embedded", gateway.display()),
    };
    Ok(format!(
        "Through {through}. {} clients over TCP, {} s a rate, open loop: a push's time counts from when it was meant \
         to be sent, to every client that got it. Every client got every push of its own once. Medians of {} runs, \
         and what they lie between, after {} that did not count.\n\n{}",
        options.clients,
        options.seconds,
        options.runs,
        options.warm_runs,
        table(&rates)
    ))
}

fn title(aim: Aim) -> &'static str {
    if aim == Aim::Room { "a room of all" } else { "one key" }
}

fn table(rates: &[Rate]) -> Table {
    let mut table = Table::new(&[
        "to",
        "pushes a second",
        "deliveries a run",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "sent late, p99 ms",
    ]);
    for Rate { aim, rate, runs } in rates {
        let cell = |of: fn(&Run) -> f64| match Spread::of(&runs.iter().map(of).collect::<Vec<_>>()) {
            Some(Spread { min, median, max }) if runs.len() > 1 => format!("{median:.2} ({min:.2} to {max:.2})"),
            Some(Spread { median, .. }) => format!("{median:.2}"),
            None => "none".to_owned(),
        };
        table.row(&[
            title(*aim).to_owned(),
            rate.to_string(),
            runs.first().map_or(0, |run| run.deliveries).to_string(),
            cell(|run| run.p50),
            cell(|run| run.p99),
            cell(|run| run.longest),
            cell(|run| run.late_p99),
        ]);
    }
    table
}

fn start(gateway: &Path, options: &Options) -> Result<Server> {
    let settings = options
        .kafka
        .iter()
        .flat_map(|broker| [format!("kafka.brokers={broker}"), format!("kafka.topic={}", options.topic)]);
    let setup = Setup {
        transport: Transport::Tcp,
        shards: 1,
        connections_max: options.clients + 16,
        settings: settings.collect(),
    };
    Server::start(&Program::Gateway(gateway.to_path_buf()), &setup, NO_ROUND)
}

/// Push at one rate with clients of its own.
fn measure(http: SocketAddr, tcp: SocketAddr, clients: u32, aim: Aim, rate: u64, pushes: u64) -> Result<Run> {
    let plan = Plan { address: tcp, transport: Transport::Tcp, clients, room_members: clients };
    let arrivals = Arrivals::watch(fleet::connect(&plan)?)?;
    let schedule = Schedule { http, aim, rate, pushes, start: Instant::now() + LEAD };
    let mut late = schedule.run()?;
    std::thread::sleep(GRACE);
    let mut latencies = verified(&schedule, clients, &arrivals.end()?)?;
    latencies.sort_unstable();
    late.sort_unstable();
    Ok(Run {
        deliveries: latencies.len(),
        p50: milliseconds(&latencies, 500),
        p99: milliseconds(&latencies, 990),
        longest: milliseconds(&latencies, 1000),
        late_p99: milliseconds(&late, 990),
    })
}

/// The latency of each delivery; an error when one is missing, came twice, or reached a client that it was not for.
/// Pushes travel over several connections, so there is no order between those under way together.
fn verified(schedule: &Schedule, clients: u32, arrivals: &[Arrival]) -> Result<Vec<Duration>> {
    let mut seen = HashSet::new();
    for &Arrival { client, number, .. } in arrivals {
        let meant = match schedule.aim {
            Aim::Keys { clients } => number % u64::from(clients) == u64::try_from(client).expect("an index of ours"),
            Aim::Room => true,
        };
        if !meant || number >= schedule.pushes {
            return Err(Failure::new(format!("client {client} got push {number}, which was not for it")));
        }
        if !seen.insert((client, number)) {
            return Err(Failure::new(format!("client {client} got push {number} twice: the run does not count")));
        }
    }
    let each = if schedule.aim == Aim::Room { u64::from(clients) } else { 1 };
    let (expected, got) = (schedule.pushes * each, u64::try_from(arrivals.len()).expect("a length fits"));
    if expected != got {
        return Err(Failure::new(format!("{got} of {expected} deliveries came: the run does not count")));
    }
    let since = |arrival: &Arrival| arrival.at.saturating_duration_since(schedule.meant_at(arrival.number));
    Ok(arrivals.iter().map(since).collect())
}

/// A quantile, in thousandths, of sorted durations; no number where there are none.
fn milliseconds(sorted: &[Duration], thousandths: usize) -> f64 {
    let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(aim: Aim) -> Schedule {
        Schedule { http: SocketAddr::from(([127, 0, 0, 1], 1)), aim, rate: 1000, pushes: 2, start: Instant::now() }
    }

    /// The arrivals of these clients and numbers, each a millisecond after it was meant to be sent.
    fn arrivals(schedule: &Schedule, list: &[(usize, u64)]) -> Vec<Arrival> {
        let at = |number| schedule.meant_at(number) + Duration::from_millis(1);
        list.iter().map(|&(client, number)| Arrival { client, number, at: at(number) }).collect()
    }

    #[test]
    fn a_run_counts_only_when_everybody_got_everything_once() {
        let room = schedule(Aim::Room);
        let check = |list: &[(usize, u64)]| verified(&room, 2, &arrivals(&room, list));
        assert_eq!(check(&[(0, 0), (1, 0), (0, 1), (1, 1)]).unwrap(), [Duration::from_millis(1); 4]);
        assert!(check(&[(0, 0), (1, 0), (0, 1)]).is_err(), "one is missing");
        assert!(check(&[(0, 0), (1, 0), (0, 1), (0, 1)]).is_err(), "one came twice");
        assert!(check(&[(0, 0), (1, 0), (0, 1), (1, 2)]).is_err(), "nobody pushed it");
        let keys = schedule(Aim::Keys { clients: 2 });
        assert!(verified(&keys, 2, &arrivals(&keys, &[(0, 0), (1, 1)])).is_ok());
        assert!(verified(&keys, 2, &arrivals(&keys, &[(1, 0), (0, 1)])).is_err(), "to the wrong key");
    }

    #[test]
    fn quantiles_are_samples() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let near = |quantile: f64, expected: f64| (quantile - expected).abs() < 1e-9;
        assert!(near(milliseconds(&sorted, 500), 50.0));
        assert!(near(milliseconds(&sorted, 990), 99.0));
        assert!(near(milliseconds(&sorted, 1000), 100.0));
        assert!(milliseconds(&[], 500).is_nan());
    }
}
