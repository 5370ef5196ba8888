//! Reading a configuration with all that it names: keys, certificates, tokens. Owns the thread on which this happens,
//! so that a file which does not answer hangs nobody else. A reading does not begin before the one before it has ended.
//! What is read, and how, is the program's.

use std::time::Duration;

use crate::failure::Failure;
use crate::files::{Errand, Late};
use crate::plain::Plain;

use super::problem::{ConfigError, Problem};

/// How long reading everything may take.
pub const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reads a program's configuration as a `T`, again and again.
#[derive(Debug)]
pub struct Reading<T>(Option<Errand<Result<T, ConfigError>>>);

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Reading(None)
    }
}

impl<T: Send + 'static> Reading<T> {
    /// Read for the first time, on a thread without a runtime.
    ///
    /// # Errors
    /// All that is wrong; that it takes longer than [`READ_WITHIN`]; that there is no thread for it.
    pub fn at_start(work: impl FnOnce() -> Result<T, ConfigError> + Send + 'static) -> Result<T, Failure> {
        let failure = |error| Failure::of_kernel("cannot start a thread to read the configuration", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failure)?;
        let mut reading = Errand::begin(work).map_err(failure)?;
        read(runtime.block_on(reading.answer(READ_WITHIN))).map_err(Failure::from)
    }

    /// Read again. Cancel safe: what was begun goes on behind whoever has given up, and is waited for by nobody.
    ///
    /// # Errors
    /// As [`Reading::at_start`]; that the reading before this one has not ended, and nothing was read.
    pub async fn again(
        &mut self,
        work: impl FnOnce() -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, ConfigError> {
        if let Some(before) = self.0.as_ref().filter(|before| !before.is_over()) {
            let file = before.reading().map(|path| Plain(path.display()).to_string());
            return Err(Problem::StillReading { file }.into());
        }
        let reading = Errand::begin(work).map_err(|error| Problem::NoThread { reason: error.to_string() })?;
        let answer = self.0.insert(reading).answer(READ_WITHIN).await;
        // Its thread may be a moment from its end: what has answered hangs no more.
        if !matches!(answer, Err(Late::Hangs(..))) {
            self.0 = None;
        }
        read(answer)
    }
}

fn read<T>(answer: Result<Result<T, ConfigError>, Late>) -> Result<T, ConfigError> {
    answer.unwrap_or_else(|late| Err(Problem::Late(late).into()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn one_reading_begins_when_the_one_before_has_answered() {
        let mut reading = Reading::default();
        for round in 0..500 {
            assert_eq!(reading.again(move || Ok(round)).await, Ok(round));
        }
    }

    #[tokio::test]
    async fn a_reading_that_was_given_up_is_waited_for_by_the_next() {
        let mut reading = Reading::default();
        let (release, held) = mpsc::channel::<()>();
        let hanging = reading.again(move || {
            let _ = held.recv();
            Ok(1)
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), hanging).await.is_err(), "it hangs");
        let refused = reading.again(|| Ok(2)).await.expect_err("the first goes on");
        assert_eq!(refused.problems(), [Problem::StillReading { file: None }]);
        drop(release);
        while reading.again(|| Ok(3)).await != Ok(3) {
            tokio::task::yield_now().await;
        }
    }
}
