//! What signals do, from the first moment of a server process on. Owns the thread that takes them, and what is
//! remembered before the process serves. That thread waits for no runtime, no other thread and no reader of the log.
//! Whoever takes the [`Wish`]es knows what stopping and reloading are.
//!
//! | when | SIGTERM, SIGINT | SIGHUP |
//! |---|---|---|
//! | before it serves | ends at once, with 0 | remembered |
//! | while it serves | [`Wish::Stop`] | the same, until it has said that it is ready |
//! | once it is ready | [`Wish::Stop`] | [`Wish::Reload`]; several that wait are one |
//! | after the first stop | ends at once, with 0 | ignored, and said |
//!
//! Every delivery of a stop counts, however close to another: each writes a byte of its own. Two that the kernel
//! merges, because no thread took the first yet, are one for everybody.
//!
//! What would kill the process by mistake ([`IGNORED`], real-time signals) is ignored, and said once in a while. Left
//! as they are: SIGQUIT and SIGABRT, which dump a core for who wants one; those of a program that cannot go on
//! (SIGSEGV, SIGBUS, SIGILL, SIGFPE); and SIGPIPE, which Rust ignores and the kernel sends for every write to a peer
//! that is gone.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGSYS, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::{flag, low_level};
use tokio::sync::mpsc;

/// Signals without a meaning here whose default is to kill: programs that rotate logs, timers and power daemons send
/// some of them, a log file that may not grow or a limit on processor time another.
pub const IGNORED: [i32; 12] = [
    SIGUSR1,
    SIGUSR2,
    SIGALRM,
    SIGVTALRM,
    SIGPROF,
    SIGIO,
    SIGXFSZ,
    SIGXCPU,
    SIGSYS,
    SIGTRAP,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// Stack of the threads. They write a log line at most.
const STACK_BYTES: usize = 512 * 1024;
/// A reload and a stop.
const WISHES_MAX: usize = 2;
/// Lines that wait for the log; one more is not said.
const LINES_MAX: usize = 16;
/// How long the last line may take to be written.
const LAST_LINE_WITHIN: Duration = Duration::from_secs(2);
/// How often one ignored signal is said at most.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What somebody wants of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read the configuration again.
    Reload,
    /// Stop in order.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Ready,
    Stopping,
}

/// What follows from a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    /// It is somebody else's work now, or remembered.
    None,
    /// It is said that it has no effect any more.
    Ignored,
    /// The process ends now, and why.
    End(&'static str),
}

/// What came so far.
#[derive(Debug)]
struct Desk {
    phase: Phase,
    reload_wanted: bool,
    wishes: mpsc::Sender<Wish>,
}

impl Desk {
    fn new() -> (Desk, mpsc::Receiver<Wish>) {
        let (wishes, receiver) = mpsc::channel(WISHES_MAX);
        (Desk { phase: Phase::Starting, reload_wanted: false, wishes }, receiver)
    }

    fn stop(&mut self) -> Consequence {
        match self.phase {
            Phase::Starting => Consequence::End("told to stop before anything is served: ending now"),
            Phase::Stopping => Consequence::End("told again to stop: ending now, without waiting for clients"),
            Phase::Serving | Phase::Ready => {
                self.phase = Phase::Stopping;
                // There is always room: at most one reload waits before the only stop.
                let _ = self.wishes.try_send(Wish::Stop);
                Consequence::None
            }
        }
    }

    fn reload(&mut self) -> Consequence {
        match self.phase {
            Phase::Starting | Phase::Serving => self.reload_wanted = true,
            Phase::Ready if self.wishes.capacity() == WISHES_MAX => {
                let _ = self.wishes.try_send(Wish::Reload);
            }
            // One that waits already will read what there is then.
            Phase::Ready => {}
            Phase::Stopping => return Consequence::Ignored,
        }
        Consequence::None
    }

    fn serve(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Serving;
        }
    }

    fn ready(&mut self) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Ready;
        if std::mem::take(&mut self.reload_wanted) {
            self.reload();
        }
    }
}

/// A SIGHUP that comes before [`Signals::take`] kills nobody and is remembered: for the first statement of a program
/// that becomes a server, since whoever rotates certificates does not know when it was started.
#[derive(Debug)]
pub struct Early(Arc<AtomicBool>);

impl Early {
    /// Remember from now on.
    pub fn remember() -> io::Result<Early> {
        let came = Arc::new(AtomicBool::new(false));
        flag::register(SIGHUP, Arc::clone(&came))?;
        Ok(Early(came))
    }
}

/// Signals taken over.
#[derive(Debug)]
pub struct Signals {
    desk: Arc<Mutex<Desk>>,
    lines: Option<Receiver<Line>>,
    heard: Arc<AtomicBool>,
}

/// The wishes of a process's life.
#[derive(Debug)]
pub struct Wishes(pub(crate) mpsc::Receiver<Wish>);

impl Wishes {
    /// The next one. Nothing comes before [`Signals::serve`]. Cancel safe.
    pub async fn next(&mut self) -> Wish {
        // The sender lives as long as the process.
        self.0.recv().await.unwrap_or(Wish::Stop)
    }
}

impl Signals {
    /// Take the signals over, for the rest of the process's life. An end that nothing else prepares calls `last_words`
    /// first, which should not wait for anybody. As long as there is no log, what is said of the end begins with
    /// `program`.
    pub fn take(early: &Early, program: &'static str, last_words: fn()) -> io::Result<(Signals, Wishes)> {
        let (desk, wishes) = Desk::new();
        let desk = Arc::new(Mutex::new(desk));
        let (stops, write) = UnixStream::pair()?;
        stops.set_nonblocking(true)?;
        low_level::pipe::register(SIGTERM, write.try_clone()?)?;
        low_level::pipe::register(SIGINT, write)?;
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let (read, write) = UnixStream::pair()?;
        let others = [SIGHUP].into_iter().chain(IGNORED).chain(real_time);
        let others = SignalDelivery::with_pipe(read, write, SignalOnly, others)?;
        let (sender, lines) = sync_channel(LINES_MAX);
        let heard = Arc::new(AtomicBool::new(false));
        let voice = Voice { lines: sender, heard: Arc::clone(&heard), program };
        let taker = Taker { stops, others, desk: Arc::clone(&desk), voice, said: Vec::new(), last_words };
        thread::Builder::new().name("signals".to_owned()).stack_size(STACK_BYTES).spawn(move || taker.run())?;
        if early.0.load(Ordering::Relaxed) {
            lock(&desk).reload();
        }
        Ok((Signals { desk, lines: Some(lines), heard }, Wishes(wishes)))
    }

    /// Log lines are written from now on; call it when they can be.
    pub fn speak(&mut self) -> io::Result<()> {
        let Some(lines) = self.lines.take() else { return Ok(()) };
        // On a thread of its own: who reads the log may have stopped to, and then writing waits.
        let write = move || lines.iter().for_each(Line::write);
        thread::Builder::new().name("signals-log".to_owned()).stack_size(STACK_BYTES).spawn(write)?;
        self.heard.store(true, Ordering::Release);
        Ok(())
    }

    /// The process serves, and can be stopped in order; to be called before anybody is told that it does.
    pub fn serve(&self) {
        lock(&self.desk).serve();
    }

    /// The process has said that it is ready, and can be told to reload.
    pub fn ready(&self) {
        lock(&self.desk).ready();
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log line on its way.
#[derive(Debug)]
enum Line {
    Useless(i32),
    TooLate,
    /// The last one, and who waits for it to be written.
    Last(&'static str, SyncSender<()>),
}

impl Line {
    fn write(self) {
        match self {
            Line::Useless(signal) => tracing::warn!(
                signal = name(signal),
                "this signal has no meaning here and is ignored: send SIGHUP to read the configuration again, SIGTERM \
                 to stop"
            ),
            Line::TooLate => tracing::warn!("SIGHUP is ignored: stopping has begun, and nothing is reloaded any more"),
            Line::Last(why, written) => {
                tracing::warn!("{why}");
                let _ = written.send(());
            }
        }
    }
}

fn name(signal: i32) -> String {
    if let Some(known) = low_level::signal_name(signal) {
        return known.to_owned();
    }
    match (signal, signal - libc::SIGRTMIN()) {
        // Names that the library does not know.
        (libc::SIGPWR, _) => "SIGPWR".to_owned(),
        (libc::SIGSTKFLT, _) => "SIGSTKFLT".to_owned(),
        (_, number @ 0..) => format!("SIGRTMIN+{number}"),
        _ => format!("signal {signal}"),
    }
}

#[derive(Debug)]
struct Voice {
    lines: SyncSender<Line>,
    /// Somebody takes the lines and writes them to the log.
    heard: Arc<AtomicBool>,
    program: &'static str,
}

impl Voice {
    fn say(&self, line: Line) {
        // One that has no room is one too many.
        let _ = self.lines.try_send(line);
    }

    fn say_last(&self, why: &'static str) {
        let (written, wait) = sync_channel(1);
        let on_its_way = if self.heard.load(Ordering::Acquire) {
            self.lines.try_send(Line::Last(why, written)).is_ok()
        } else {
            write_plainly(self.program, why, written)
        };
        if on_its_way {
            let _ = wait.recv_timeout(LAST_LINE_WITHIN);
        }
    }
}

/// Writes a sentence to standard error, where there is no log yet, on a thread of its own: it may be a pipe that nobody
/// reads. Whether there is one.
fn write_plainly(program: &'static str, why: &'static str, written: SyncSender<()>) -> bool {
    let write = move || {
        let _ = writeln!(io::stderr(), "{program}: {why}");
        let _ = written.send(());
    };
    thread::Builder::new().name("signals-end".to_owned()).stack_size(STACK_BYTES).spawn(write).is_ok()
}

/// The thread's own.
struct Taker {
    stops: UnixStream,
    others: SignalDelivery<UnixStream, SignalOnly>,
    desk: Arc<Mutex<Desk>>,
    voice: Voice,
    /// When which useless signal was last said.
    said: Vec<(i32, Instant)>,
    last_words: fn(),
}

impl Taker {
    fn run(mut self) {
        loop {
            let mut both = [&self.stops, self.others.get_read()].map(|socket| PollFd::new(socket, PollFlags::IN));
            // A wait that is interrupted is followed by a look, as every other.
            let _ = poll(&mut both, None);
            self.take_stops();
            let others: Vec<i32> = self.others.pending().collect();
            for signal in others {
                self.take_other(signal, Instant::now());
            }
        }
    }

    fn take_stops(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = self.stops.read(&mut bytes) {
            for _ in 0..count {
                let consequence = lock(&self.desk).stop();
                if let Consequence::End(why) = consequence {
                    self.end(why);
                }
            }
        }
    }

    fn take_other(&mut self, signal: i32, now: Instant) {
        if signal == SIGHUP {
            let consequence = lock(&self.desk).reload();
            if consequence == Consequence::Ignored {
                self.voice.say(Line::TooLate);
            }
        } else if self.may_say(signal, now) {
            self.voice.say(Line::Useless(signal));
        }
    }

    /// Once in [`SAY_EVERY`] for each signal.
    fn may_say(&mut self, signal: i32, now: Instant) -> bool {
        self.said.retain(|(_, when)| now.duration_since(*when) < SAY_EVERY);
        let new = self.said.iter().all(|(said, _)| *said != signal);
        if new {
            self.said.push((signal, now));
        }
        new
    }

    fn end(&self, why: &'static str) -> ! {
        (self.last_words)();
        self.voice.say_last(why);
        // Without what is done at an orderly exit, which might wait for other threads.
        low_level::exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_before_it_serves_ends_the_process() {
        let (mut desk, mut wishes) = Desk::new();
        assert!(matches!(desk.stop(), Consequence::End(_)));
        assert!(wishes.try_recv().is_err());
    }

    #[test]
    fn a_reload_before_it_serves_is_remembered_once() {
        let (mut desk, mut wishes) = Desk::new();
        for _ in 0..3 {
            assert_eq!(desk.reload(), Consequence::None);
        }
        assert!(wishes.try_recv().is_err());
        desk.serve();
        assert_eq!(desk.reload(), Consequence::None);
        assert!(wishes.try_recv().is_err());
        desk.ready();
        assert_eq!(wishes.try_recv(), Ok(Wish::Reload));
        assert!(wishes.try_recv().is_err());
    }

    /// However many reloads wait, the stop finds room behind one of them, and nothing comes after it.
    #[test]
    fn a_stop_comes_through_and_the_second_ends_the_process() {
        let (mut desk, mut wishes) = desk_that_serves();
        desk.ready();
        for _ in 0..9 {
            assert_eq!(desk.reload(), Consequence::None);
        }
        assert_eq!(desk.stop(), Consequence::None);
        assert_eq!(desk.reload(), Consequence::Ignored);
        assert!(matches!(desk.stop(), Consequence::End(_)));
        assert_eq!([wishes.try_recv(), wishes.try_recv()], [Ok(Wish::Reload), Ok(Wish::Stop)]);
        assert!(wishes.try_recv().is_err());
    }

    /// Whoever is told that a process serves may stop it at once, in order; nothing is reloaded then.
    #[test]
    fn a_stop_right_after_it_serves_is_in_order() {
        let (mut desk, mut wishes) = desk_that_serves();
        assert_eq!(desk.reload(), Consequence::None);
        assert_eq!(desk.stop(), Consequence::None);
        desk.ready();
        assert_eq!(wishes.try_recv(), Ok(Wish::Stop));
        assert!(wishes.try_recv().is_err());
        assert!(matches!(desk.stop(), Consequence::End(_)));
    }

    fn desk_that_serves() -> (Desk, mpsc::Receiver<Wish>) {
        let (mut desk, wishes) = Desk::new();
        desk.serve();
        (desk, wishes)
    }

    /// A log that nobody reads takes neither the thread's time nor memory without bound.
    #[test]
    fn lines_that_nobody_takes_are_not_waited_for() {
        let (sender, lines) = sync_channel(LINES_MAX);
        let heard = Arc::new(AtomicBool::new(true));
        let voice = Voice { lines: sender, heard: Arc::clone(&heard), program: "tests" };
        (0..1000).for_each(|_| voice.say(Line::TooLate));
        voice.say_last("no room");
        assert_eq!(lines.try_iter().count(), LINES_MAX);
        voice.say_last("nobody writes it");
        assert_eq!(lines.try_iter().count(), 1);
        heard.store(false, Ordering::Release);
        voice.say_last("before there is a log");
        assert_eq!(lines.try_iter().count(), 0);
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(name(SIGUSR1), "SIGUSR1");
        assert_eq!(name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
        for signal in IGNORED {
            assert!(name(signal).starts_with("SIG"), "{signal}");
        }
    }
}
