//! Fan-out of small pushes to one large room, two programs by turns: it decides which of them is the more efficient.
//! Owns the pairing and what is reported; a server's life and the counting are `session`'s.
//!
//! Each pair starts both programs anew, connects all clients to both, and lets them take turns of a few rounds: A B B
//! A, and so on. So a change of the host's speed meets both, and no pair inherits another's memory layout. Who starts
//! first changes from pair to pair: sockets made first can cost some percent more or less, whatever program holds them.
//! So does, by twos, who takes the first turn: in A B B A only B works twice in a row, on caches that are still its
//! own.

use crate::clients::fleet;
use crate::failure::{Failure, Result};
use crate::report::{self, Table};
use crate::scenarios::session::{Load, Measured, RingWork, Session};
use crate::server::Program;
use crate::server::usage::{self, CpuSpent};
use crate::stats::{Spread, number, ratio};
use crate::wire::{Round, Transport};

/// Bytes of the body of a measured push: 26 on the wire.
const BODY_BYTES: usize = 10;

/// What is in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// One push of one frame.
    Unbatched,
    /// One push whose op-9 body holds eight frames, as a stock job batches a room.
    Batch8,
    /// Eight pushes of one frame each, sent at the same time: the gateway must coalesce them by itself.
    Burst8,
}

impl Shape {
    /// What it puts in flight.
    pub(crate) fn round(self) -> Round {
        let (pushes, frames_per_push) = match self {
            Shape::Unbatched => (1, 1),
            Shape::Batch8 => (1, 8),
            Shape::Burst8 => (8, 1),
        };
        Round { pushes, frames_per_push, body_bytes: BODY_BYTES }
    }

    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Unbatched => "unbatched",
            Shape::Batch8 => "batch of 8 in one push",
            Shape::Burst8 => "burst of 8 pushes",
        }
    }
}

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Pairs for each shape.
    #[arg(long, default_value_t = 10)]
    pub pairs: u32,
    /// Clients of each program, all in one room.
    #[arg(long, default_value_t = 5_000)]
    pub clients: u32,
    /// Turns that each program of a pair takes.
    #[arg(long, default_value_t = 4)]
    pub turns: u32,
    /// Rounds of one turn; in each every client is sent one push, or eight.
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// Rounds released and not yet received by all clients.
    #[arg(long, default_value_t = 2)]
    pub window: u64,
    /// What is in flight at once; may be given several times.
    #[arg(long = "shape", value_enum, default_values_t = [Shape::Unbatched, Shape::Batch8, Shape::Burst8])]
    pub shapes: Vec<Shape>,
    /// How clients talk. The bare ring sends the same bytes without knowing what they mean.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub transport: Transport,
}

/// Two programs, the first of which is judged by the second.
pub(crate) struct Contest {
    /// The judged one.
    pub subject: Program,
    /// What it is judged by.
    pub reference: Program,
}

#[derive(Default)]
struct Pair {
    subject: Measured,
    reference: Measured,
}

impl Pair {
    fn ratio(&self) -> f64 {
        ratio(self.subject.deliveries_per_cpu_second(), self.reference.deliveries_per_cpu_second())
    }
}

/// Measure all shapes; returns the body of a report.
pub(crate) fn run(contest: &Contest, options: &Options) -> Result<String> {
    fleet::make_room_for(2 * u64::from(options.clients))?;
    let mut summary = Table::new(&[
        "shape",
        "subject, deliveries per CPU-second",
        "reference, deliveries per CPU-second",
        "ratio, median",
        "min",
        "max",
        "pairs",
    ]);
    let mut details = String::new();
    for &shape in &options.shapes {
        let pairs = (0..options.pairs).map(|index| pair(contest, options, shape, index)).collect::<Result<Vec<_>>>()?;
        let spread = spread(&pairs, Pair::ratio)?;
        summary.row(&[
            shape.name().to_owned(),
            format!("{:.0}", self::spread(&pairs, |pair| pair.subject.deliveries_per_cpu_second())?.median),
            format!("{:.0}", self::spread(&pairs, |pair| pair.reference.deliveries_per_cpu_second())?.median),
            format!("**{:.3}**", spread.median),
            format!("{:.3}", spread.min),
            format!("{:.3}", spread.max),
            pairs.len().to_string(),
        ]);
        details.push_str(&detail(shape, &pairs)?);
    }
    let intro = format!(
        "Subject: {}. Reference: {}. {} clients over {:?}, {} turns of {} rounds each in every pair, {} rounds \
         under way at most.\n",
        contest.subject,
        contest.reference,
        options.clients,
        options.transport,
        options.turns,
        options.rounds,
        options.window
    );
    Ok(format!("{intro}\n{summary}\n{details}"))
}

fn pair(contest: &Contest, options: &Options, shape: Shape, index: u32) -> Result<Pair> {
    let load =
        Load { transport: options.transport, clients: options.clients, round: shape.round(), window: options.window };
    let (mut subject, mut reference);
    if index.is_multiple_of(2) {
        subject = Session::open(&contest.subject, load)?;
        reference = Session::open(&contest.reference, load)?;
    } else {
        reference = Session::open(&contest.reference, load)?;
        subject = Session::open(&contest.subject, load)?;
    }
    check_cpu(&subject)?;
    let mut pair = Pair::default();
    for turn in 0..options.turns {
        if (turn + index / 2).is_multiple_of(2) {
            pair.subject.add(subject.measure(options.rounds)?);
            pair.reference.add(reference.measure(options.rounds)?);
        } else {
            pair.reference.add(reference.measure(options.rounds)?);
            pair.subject.add(subject.measure(options.rounds)?);
        }
    }
    subject.close()?;
    reference.close()?;
    report::progress(&format!(
        "{}: pair {} of {}: ratio {:.3} ({:.0} and {:.0} ns CPU a delivery)",
        shape.name(),
        index + 1,
        options.pairs,
        pair.ratio(),
        ratio(1e9, pair.subject.deliveries_per_cpu_second()),
        ratio(1e9, pair.reference.deliveries_per_cpu_second()),
    ));
    Ok(pair)
}

/// A gateway's shard must run where the bare ring runs, and nowhere else.
fn check_cpu(session: &Session) -> Result<()> {
    let Program::Gateway(_) = session.server().program() else { return Ok(()) };
    let expected = crate::server::SERVER_CPU.to_string();
    match usage::cpus_of_thread(session.server().pid(), "shard-0") {
        Some(cpus) if cpus == expected => Ok(()),
        Some(cpus) => Err(Failure::new(format!("the shard may run on CPU {cpus}, and should on {expected} alone"))),
        None => Err(Failure::new("the gateway has no thread named shard-0")),
    }
}

fn spread(pairs: &[Pair], of: impl Fn(&Pair) -> f64) -> Result<Spread> {
    let samples: Vec<f64> = pairs.iter().map(of).collect();
    Spread::of(&samples).ok_or_else(|| Failure::new("there are no pairs to report: ask for at least one"))
}

fn detail(shape: Shape, pairs: &[Pair]) -> Result<String> {
    let mut text = format!("\n## {}\n\n", shape.name());
    let mut table = Table::new(&["pair", "subject, ns CPU a delivery", "reference, ns CPU a delivery", "ratio"]);
    for (index, pair) in pairs.iter().enumerate() {
        table.row(&[
            (index + 1).to_string(),
            format!("{:.0}", ratio(1e9, pair.subject.deliveries_per_cpu_second())),
            format!("{:.0}", ratio(1e9, pair.reference.deliveries_per_cpu_second())),
            format!("{:.3}", pair.ratio()),
        ]);
    }
    text.push_str(&table.to_string());
    for (name, half) in
        [("subject", side(pairs, |pair| &pair.subject)), ("reference", side(pairs, |pair| &pair.reference))]
    {
        text.push_str(&format!("\nThe {name}: {}.\n", half.join("; ")));
    }
    Ok(text)
}

/// What the halves of one side say beside their ratio, over all pairs.
fn side(pairs: &[Pair], of: impl Fn(&Pair) -> &Measured) -> Vec<String> {
    let halves: Vec<&Measured> = pairs.iter().map(of).collect();
    let total = |value: &dyn Fn(&Measured) -> f64| halves.iter().map(|half| value(half)).sum::<f64>();
    let deliveries = total(&|half| number(half.deliveries));
    let cpu_ns = total(&|half| number(half.cpu.total_ns));
    let mut facts = vec![
        format!(
            "user space about {:.1} % of its CPU time",
            100.0 * ratio(total(&|half| number(half.cpu.user_ns)), cpu_ns)
        ),
        format!("busy {:.0} % of one core", 100.0 * ratio(cpu_ns, total(&|half| half.wall.as_secs_f64() * 1e9))),
        format!("{:.3} receives of the clients a delivery", ratio(total(&|half| number(half.receives)), deliveries)),
    ];
    let ring =
        |value: &dyn Fn(&RingWork) -> f64| halves.iter().filter_map(|half| half.ring.as_ref()).map(value).sum::<f64>();
    let sends = ring(&|ring| ring.sends);
    if sends > 0.0 {
        facts.push(format!("{:.4} submission entries a send", ratio(ring(&|ring| ring.submissions), sends)));
        facts.push(format!("{:.4} sends a delivery", ratio(sends, deliveries)));
        facts.push(format!("{:.1} sends an enter", ratio(sends, ring(&|ring| ring.enters))));
        facts.push(format!("{:.0} sends a turn", ratio(sends, ring(&|ring| ring.turns))));
    }
    let mut spent = CpuSpent::default();
    halves.iter().for_each(|half| spent.add(&half.cpu));
    let mut threads: Vec<(&String, &u64)> = spent.threads.iter().filter(|(_, ns)| **ns > 0).collect();
    threads.sort_by_key(|(_, ns)| std::cmp::Reverse(**ns));
    let shares = threads.iter().map(|(name, ns)| format!("{name} {:.2} %", 100.0 * ratio(number(**ns), cpu_ns)));
    facts.push(format!("by thread: {}", shares.collect::<Vec<_>>().join(", ")));
    facts
}
