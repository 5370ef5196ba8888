//! What a panic ends. Owns the process's panic hook and the one exception from it. A panic is our bug, and it ends the
//! process: clients reconnect to one that is whole. The exception is a library that works on the bytes of one peer
//! ([`contain`]): its panic ends that peer's connection, is counted, and is logged once a minute by [`tell`].
//!
//! Code of ours that a library calls back (an HTTP handler below a connection) takes itself out of the exception with [`Ours`]
//! and [`ours`], so that its panics end the process as everywhere else.

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
use std::time::Duration;

use crate::plain::Plain;

/// How often contained panics are logged at most.
pub const TELL_EVERY: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether a panic on this thread, now, is a library's on a peer's bytes.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// Where the last contained panic of this thread happened, as the hook saw it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Contained panics since the process started.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// The last of them, for the log.
static LAST: Mutex<Option<Contained>> = Mutex::new(None);

/// A panic that ended one connection only.
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

/// Let every panic outside [`contain`] end the process with `exit_code`, after `last_words`, which must wait for nobody, and one
/// sentence on standard error, which begins with `program`. `RUST_BACKTRACE=1` adds where it came from.
pub fn end_process(program: &'static str, exit_code: i32, last_words: fn()) {
    std::panic::set_hook(Box::new(move |panic| {
        if CONTAINED.get() {
            let place = panic.location().map(|place| format!("{} at {place}", said(panic.payload())));
            PLACE.with_borrow_mut(|last| *last = place);
            return;
        }
        // First: what comes then may wait for whoever reads standard error, and for other threads.
        last_words();
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
    let thread = std::thread::current();
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

/// Let `library` work on a peer's bytes. After an error whatever `work` touched must be used no more, only dropped.
pub fn contain<T>(library: &'static str, work: impl FnOnce() -> T) -> Result<T, Contained> {
    let within = Within::new(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    drop(within);
    result.map_err(|payload| {
        let message = PLACE.take().unwrap_or_else(|| said(&*payload).to_owned());
        let contained = Contained { library, message };
        COUNT.fetch_add(1, Ordering::Relaxed);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(contained.clone());
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

/// Contained panics since the process started.
pub fn contained_total() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Log contained panics from now on, once in [`TELL_EVERY`] at most.
pub async fn tell() {
    let mut told = 0;
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let count = contained_total();
        if count == told {
            continue;
        }
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        let connections = count - told;
        tracing::error!(connections, last, "a library failed on what peers sent; please report this");
        told = count;
    }
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
