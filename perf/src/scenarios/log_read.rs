//! Reading the log: what one core reads of record batches in memory, with every checksum checked and every record
//! looked at for whom it is. Owns the batches that are read, made anew in each run, and the clock: CPU time of the
//! reading thread, which other work on the host disturbs least. Runs the dispatcher's reader and the protocol's early
//! filter, the same code as the gateway's.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Args;
use halley_dispatcher::bus::batch::{BatchBuilder, BatchReader, Batches, Codec, ReadLimits};
use halley_protocol::push::Target;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use rustix::time::{ClockId, clock_gettime};

use crate::clients::records::{Noise, VALUE_BYTES, record};
use crate::failure::{Failure, Result};
use crate::report::{Table, progress};
use crate::stats::{Spread, number};

/// Batches that are read again and again: more than a processor's caches hold.
const LOG_RECORDS: usize = 400_000;
/// Names that records are for, and every how many of them is here.
const NAMES: usize = 100_000;
const HERE_EVERY: usize = 100;
/// Names of other connections that are here, which no record is for.
const OTHERS: usize = 20_000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds of each kind of batch; the report has their median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2)]
    round_s: u64,
}

/// Batches of one kind.
struct Kind {
    records_a_batch: usize,
    codec: Codec,
}

/// What one round read.
#[derive(Default)]
struct Read {
    records: u64,
    bytes: u64,
    passed: u64,
    busy: Duration,
}

pub(crate) fn run(options: &Options) -> Result<String> {
    if options.rounds == 0 || options.round_s == 0 {
        return Err(Failure::new("there must be rounds that take time: --rounds and --round-s begin at 1"));
    }
    let interest = interest();
    let mut table = Table::new(&[
        "codec",
        "records a batch",
        "records a CPU-second",
        "ns a record",
        "of them without the filter",
        "MB a CPU-second",
        "passed",
    ]);
    let plain = [1, 100].map(|records_a_batch| Kind { records_a_batch, codec: Codec::None });
    let codecs = [Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip];
    for kind in plain.into_iter().chain(codecs.map(|codec| Kind { records_a_batch: 100, codec })) {
        progress(&format!("{} records a batch, {}", kind.records_a_batch, kind.codec));
        let log = log(&kind);
        let (mut whole, mut reading, mut last) = (Vec::new(), Vec::new(), Read::default());
        for _ in 0..options.rounds {
            last = round(&log, Some(&interest), options)?;
            whole.push(nanoseconds(&last));
            reading.push(nanoseconds(&round(&log, None, options)?));
        }
        let (Some(whole), Some(reading)) = (Spread::of(&whole), Spread::of(&reading)) else { continue };
        let (whole, reading) = (whole.median, reading.median);
        table.row(&[
            kind.codec.to_string(),
            kind.records_a_batch.to_string(),
            format!("{:.2} million", 1e3 / whole),
            format!("{whole:.0}"),
            format!("{reading:.0}"),
            format!("{:.0}", number(last.bytes) / number(last.records) * 1e3 / whole),
            format!("{:.2} %", 100.0 * number(last.passed) / number(last.records)),
        ]);
    }
    Ok(format!(
        "One thread walks answers of record batches in memory ({LOG_RECORDS} records with values of {VALUE_BYTES} \
         bytes), checks every CRC, inflates, reads every record and asks the early filter whether anybody here is \
         concerned: keys, users and rooms in turn, of {NAMES} names, of which one in {HERE_EVERY} is here beside \
         {OTHERS} others. Medians of {} rounds of {} s of the thread's CPU time.\n\n{table}",
        options.rounds, options.round_s
    ))
}

/// The records' names by number: every third a key, a user, a room.
fn target(number: usize) -> Target {
    match number % 3 {
        0 => Target::Keys(vec![format!("6ba7b810-9dad-11d1-80b4-{number:012}")]),
        1 => Target::Mids(vec![i64::try_from(number).unwrap_or(0)]),
        _ => Target::Room(format!("live://{number}")),
    }
}

fn interest() -> Interest {
    let interest = Interest::new(NAMES);
    for number in (0..NAMES).step_by(HERE_EVERY) {
        match target(number) {
            Target::Keys(keys) => keys.iter().for_each(|key| interest.raise_key(key)),
            Target::Mids(mids) => mids.iter().for_each(|mid| interest.raise_mid(*mid)),
            Target::Room(room) => interest.raise_room(&room),
            Target::All { .. } => {}
        }
    }
    (0..OTHERS).for_each(|number| interest.raise_key(&format!("other {number}")));
    interest
}

/// Answers, of which each is about a megabyte, as a broker sends them.
fn log(kind: &Kind) -> Vec<Bytes> {
    let mut answers = Vec::new();
    let mut answer = BytesMut::new();
    let mut builder = BatchBuilder::compressed(usize::MAX, kind.codec);
    let mut noise = Noise::new();
    for index in 0..LOG_RECORDS {
        // Far from its neighbours, so that the filter's table is not warm for it.
        let target = target(index * 7_919 % NAMES);
        let record = record(target, 1000, &mut noise);
        let (key, value) = (record.key(), record.encode());
        let time = 1_700_000_000_000 + i64::try_from(index).unwrap_or(0);
        builder.push(Some(key.as_bytes()), Some(&value), time).expect("the batch has no bound");
        if builder.record_count() == kind.records_a_batch {
            answer.extend_from_slice(&builder.finish().unwrap_or_default());
        }
        if answer.len() >= 1 << 20 {
            answers.push(answer.split().freeze());
        }
    }
    answers.push(answer.freeze());
    answers
}

/// Reads the log from its beginning to its end for as long as a round takes, with the filter or without.
fn round(log: &[Bytes], interest: Option<&Interest>, options: &Options) -> Result<Read> {
    let mut reader = BatchReader::new(ReadLimits::default());
    let mut read = Read::default();
    let began = (Instant::now(), cpu_time());
    while began.0.elapsed() < Duration::from_secs(options.round_s) {
        for answer in log {
            read.bytes += answer.len() as u64;
            for batch in Batches::new(answer.clone()) {
                let unreadable = |why| Failure::new(format!("our own batch cannot be read: {why}"));
                let sound = batch.check().map_err(|damaged| unreadable(damaged.why))?;
                for record in reader.open_sound(&sound).map_err(unreadable)? {
                    let record = record.map_err(unreadable)?;
                    let value = black_box(record.value.unwrap_or_default());
                    read.records += 1;
                    let passed = interest.is_some_and(|interest| interest.concerns(&Look::at(value)));
                    read.passed += u64::from(passed);
                }
            }
        }
    }
    read.busy = cpu_time().saturating_sub(began.1);
    Ok(read)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn nanoseconds(read: &Read) -> f64 {
    read.busy.as_secs_f64() * 1e9 / number(read.records)
}
