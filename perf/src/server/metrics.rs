//! The gateway's own counters, read over its admin listener as any Prometheus would. Owns one HTTP request and the text
//! format's samples; which of them matter is the scenario's matter.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::{Doing, Failure, Result};

/// How long the admin listener may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// All samples of one reading, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    /// `GET /metrics`.
    pub(crate) fn fetch(admin: SocketAddr) -> Result<Metrics> {
        Metrics::parse(&get(admin, "/metrics")?)
    }

    fn parse(text: &str) -> Result<Metrics> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).ok_or_else(|| Failure::new(format!("no metric: {line}"))));
        Ok(Metrics { samples: samples.collect::<Result<_>>()? })
    }

    /// The sum over all labels of a metric; an error when there is no such metric, so that a renamed one is noticed.
    pub(crate) fn sum(&self, name: &str) -> Result<f64> {
        let mut found = self.samples.iter().filter(|sample| sample.name == name).peekable();
        if found.peek().is_none() {
            return Err(Failure::new(format!("the gateway's /metrics has no {name}")));
        }
        Ok(found.map(|sample| sample.value).sum())
    }

    /// Samples of one metric that are not zero, as `labels value`.
    pub(crate) fn not_zero(&self, name: &str) -> Vec<String> {
        let samples = self.samples.iter().filter(|sample| sample.name == name && sample.value != 0.0);
        samples.map(|sample| format!("{}{} {}", sample.name, sample.labels, sample.value)).collect()
    }
}

/// `name{labels} value [timestamp]`. Labels are kept as they are written.
fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let labels_end = if rest.starts_with('{') { rest.rfind('}')? + 1 } else { 0 };
    let (labels, value) = rest.split_at(labels_end);
    let value = value.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels: labels.to_owned(), value })
}

/// The body of a `GET` that is answered with 200.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The answer is a whole text, so it is never chunked. HTTP/1.0 is what a proxy speaks: the gateway lets that in
        // with a token only.
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().doing(|| format!("get http://{address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| Failure::new("the answer is no HTTP"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(Failure::new(format!("http://{address}{path} answered {status}")));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{shard=\"0\"} 3\n\
                        a_total{shard=\"1\"} 4\nb 1.5 1700000000\nc{text=\"} {\"} 9\n";

    #[test]
    fn labels_are_summed_over() {
        let metrics = Metrics::parse(TEXT).expect("well formed");
        assert_eq!(metrics.sum("a_total").expect("there"), 7.0);
        assert_eq!(metrics.sum("b").expect("there"), 1.5);
        assert_eq!(metrics.sum("c").expect("there"), 9.0);
    }

    #[test]
    fn a_metric_that_is_gone_is_an_error_and_not_zero() {
        assert!(Metrics::parse(TEXT).expect("well formed").sum("a").is_err());
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        assert!(Metrics::parse("half_a_line").is_err());
    }
}
