//! What a panic ends. Owns the process's panic hook and the one exception from it. A panic is our bug, and it ends the
//! process: clients reconnect to one that is whole. The exception is a library that works on the bytes of one peer, or
//! on a file that the configuration names ([`contain`]). Its panic ends that peer's connection, or that reading. It is
//! counted, and [`tell`] logs it, once a minute at most.
//!
//! Code of ours that a library calls back (an HTTP handler below a connection) takes itself out of the exception with
//! [`Ours`] and [`ours`], so that its panics end the process as everywhere else.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::plain::Plain;

/// How often contained panics are logged at most.
pub const TELL_EVERY: Duration = Duration::from_secs(60);
/// How soon the first of them is.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// How long the sentence about a panic may take to be written.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// Stack of the thread that ends the process when that takes longer.
const STACK_BYTES: usize = 64 * 1024;

thread_local! {
    /// Whether a panic on this thread, now, is a library's on what it was given to read.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// Where the last contained panic of this thread happened, as the hook saw it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Those of this process.
static TALLY: Tally = Tally::new();

/// A panic that ended one connection only, or one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// Which library was at work: a short name, such as `rustls`.
    pub library: &'static str,
    /// What it said, and where if that is known.
    pub message: String,
}

impl fmt::Display for Contained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.library, self.message)
    }
}

impl std::error::Error for Contained {}

/// Let every panic outside [`contain`] end the process with `exit_code`, after `last_words`, which must wait for
/// nobody, and one sentence on standard error, which begins with `program`. `RUST_BACKTRACE=1` adds where it came from.
/// Whoever reads standard error is not waited for longer than 2 seconds.
pub fn end_process(program: &'static str, exit_code: i32, last_words: fn()) {
    std::panic::set_hook(Box::new(move |panic| {
        if CONTAINED.get() {
            let place = panic.location().map(|place| format!("{} at {place}", said(panic.payload())));
            PLACE.with_borrow_mut(|last| *last = place);
            return;
        }
        // First: what comes then may wait for whoever reads standard error, and for other threads.
        last_words();
        let end = move || {
            thread::sleep(WRITE_WITHIN);
            signal_hook::low_level::exit(exit_code);
        };
        if thread::Builder::new().name("panic-end".to_owned()).stack_size(STACK_BYTES).spawn(end).is_err() {
            signal_hook::low_level::exit(exit_code);
        }
        let mut output = std::io::stderr();
        // A reader that left hears nothing, which is no reason to panic again.
        let _ = writeln!(output, "{program}: {}", Plain(sentence(panic)));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|wish| wish != "0") {
            let _ = writeln!(output, "{}", std::backtrace::Backtrace::force_capture());
        }
        signal_hook::low_level::exit(exit_code);
    }));
}

fn sentence(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let (name, message) = (thread.name().unwrap_or("without name"), said(panic.payload()));
    format!("internal error on thread {name} at {place}: {message}; please report this")
}

fn said(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Sets the thread's state for as long as it lives.
struct Within(bool);

impl Within {
    fn new(contained: bool) -> Within {
        Within(CONTAINED.replace(contained))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        CONTAINED.set(self.0);
    }
}

/// Let `library` work on a peer's bytes, or on a file. After an error whatever `work` touched must be used no more,
/// only dropped.
pub fn contain<T>(library: &'static str, work: impl FnOnce() -> T) -> Result<T, Contained> {
    let within = Within::new(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    drop(within);
    result.map_err(|payload| {
        let message = PLACE.take().unwrap_or_else(|| said(&*payload).to_owned());
        let contained = Contained { library, message };
        TALLY.add(contained.clone());
        contained
    })
}

/// A future of a library that works on a peer's bytes, as by [`contain`]. It is dropped with the panic.
pub struct ContainedFuture<F> {
    library: &'static str,
    future: Option<Pin<Box<F>>>,
}

impl<F> ContainedFuture<F> {
    /// The same future, whose panics are its result.
    pub fn new(library: &'static str, future: F) -> ContainedFuture<F> {
        ContainedFuture { library, future: Some(Box::pin(future)) }
    }

    /// The future, for calls between two polls; `None` once it has panicked.
    pub fn as_mut(&mut self) -> Option<Pin<&mut F>> {
        self.future.as_mut().map(Pin::as_mut)
    }
}

impl<F> Drop for ContainedFuture<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        let _ = contain(self.library, || drop(future));
    }
}

impl<F: Future> Future for ContainedFuture<F> {
    type Output = Result<F::Output, Contained>;

    /// Must not be polled after its end.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let library = self.library;
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        match contain(library, || future.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(contained) => {
                let broken = self.future.take();
                // What a panic left behind may panic again.
                let _ = contain(library, || drop(broken));
                Poll::Ready(Err(contained))
            }
        }
    }
}

/// Work of ours below a contained library, on what other connections need too: its panics are ours again.
pub fn ours<T>(work: impl FnOnce() -> T) -> T {
    let _within = Within::new(false);
    work()
}

/// A future of ours that a contained library polls: its panics are ours again.
pub struct Ours<F>(Pin<Box<F>>);

impl<F> Ours<F> {
    /// The same future, outside of the exception.
    pub fn new(future: F) -> Ours<F> {
        Ours(Box::pin(future))
    }
}

impl<F: Future> Future for Ours<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        ours(|| self.0.as_mut().poll(cx))
    }
}

/// Contained panics, and how many of them were told.
#[derive(Debug)]
struct Tally {
    count: AtomicU64,
    told: AtomicU64,
    last: Mutex<Option<Contained>>,
}

impl Tally {
    const fn new() -> Tally {
        Tally { count: AtomicU64::new(0), told: AtomicU64::new(0), last: Mutex::new(None) }
    }

    fn add(&self, contained: Contained) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(contained);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives `say` the number of those that were not told yet, if there are any, and the last. Whether there were.
    fn tell_now(&self, say: impl FnOnce(u64, &str)) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        let new = count.saturating_sub(self.told.swap(count, Ordering::Relaxed));
        if new > 0 {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            say(new, &last.map(|last| last.to_string()).unwrap_or_default());
        }
        new > 0
    }

    async fn tell(&self, mut say: impl FnMut(u64, &str)) {
        loop {
            let told = self.tell_now(&mut say);
            tokio::time::sleep(if told { TELL_EVERY } else { TELL_WITHIN }).await;
        }
    }
}

/// Contained panics since the process started.
pub fn contained_total() -> u64 {
    TALLY.count.load(Ordering::Relaxed)
}

/// Log contained panics from now on: the first within a second, others once in [`TELL_EVERY`] at most.
pub async fn tell() {
    TALLY.tell(say).await;
}

/// Log the contained panics that were not logged yet: there is no later.
pub fn tell_now() {
    TALLY.tell_now(say);
}

fn say(panics: u64, last: &str) {
    tracing::error!(panics, last, "a library failed on what it was given to read; please report this");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_is_a_value_with_what_was_said() {
        let before = contained_total();
        let failed = contain("tests", || -> u8 { panic!("on byte {}", 7) });
        let failed = failed.expect_err("it panicked");
        assert_eq!(failed.library, "tests");
        assert!(failed.message.starts_with("on byte 7"), "{}", failed.message);
        assert!(contained_total() > before);
        assert!(!CONTAINED.get(), "the exception ends with the call");
        assert_eq!(contain("tests", || 5), Ok(5));
    }

    #[tokio::test]
    async fn a_contained_future_is_dropped_with_its_panic() {
        struct PanicsTwice;
        impl Drop for PanicsTwice {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    panic!("again");
                }
            }
        }
        let held = PanicsTwice;
        let future = async move {
            let _held = &held;
            tokio::task::yield_now().await;
            panic!("first");
        };
        let failed: Result<(), Contained> = ContainedFuture::new("tests", future).await;
        assert!(failed.expect_err("it panicked").message.starts_with("first"));
        assert_eq!(ContainedFuture::new("tests", async { 5 }).await, Ok(5));
    }

    /// The first is said at once, those of the minute after it in one line, and the end waits for no minute.
    #[tokio::test(start_paused = true)]
    async fn contained_panics_are_told_at_once_then_by_the_minute_and_at_the_end() {
        let tally = Tally::new();
        let add = |message: &str| tally.add(Contained { library: "tests", message: message.to_owned() });
        let start = tokio::time::Instant::now();
        let mut said = Vec::new();
        let seconds = |count: u64| tokio::time::sleep(Duration::from_secs(count));
        tokio::select! {
            () = tally.tell(|count, last| said.push((start.elapsed().as_secs(), count, last.to_owned()))) => {}
            () = async {
                seconds(100).await;
                add("1");
                seconds(5).await;
                add("2");
                seconds(5).await;
                add("3");
                seconds(190).await;
                add("4");
            } => {}
        }
        let told: Vec<(u64, &str)> = said.iter().map(|(_, count, last)| (*count, &**last)).collect();
        assert_eq!(told, [(1, "tests panicked: 1"), (2, "tests panicked: 3")]);
        assert!((100..=101).contains(&said[0].0) && (160..=161).contains(&said[1].0), "{said:?}");
        let mut rest = None;
        assert!(tally.tell_now(|count, last| rest = Some((count, last.to_owned()))));
        assert_eq!(rest, Some((1, "tests panicked: 4".to_owned())));
        assert!(!tally.tell_now(|_, _| panic!("it was told")));
    }

    #[tokio::test]
    async fn what_is_ours_leaves_the_exception_for_its_own_time() {
        let seen = ContainedFuture::new("tests", async {
            let inside = CONTAINED.get();
            let ours = Ours::new(async { CONTAINED.get() }).await;
            (inside, ours, CONTAINED.get())
        });
        assert_eq!(seen.await, Ok((true, false, true)));
    }
}
