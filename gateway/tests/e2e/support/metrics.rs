//! A strict reader of the Prometheus text format: what a scraper would refuse fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One line of it.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut metrics = Metrics { types: BTreeMap::new(), samples: Vec::new() };
        let mut help = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').expect("HELP has words");
                assert!(!words.is_empty() && help.insert(name.to_owned()), "one HELP for {name}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE has a kind");
                assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
                assert!(metrics.types.insert(name.to_owned(), kind.to_owned()).is_none(), "one TYPE for {name}");
            } else if line != "# EOF" {
                let sample = sample(line);
                let family = metrics.types.keys().find(|family| {
                    sample
                        .name
                        .strip_prefix(family.as_str())
                        .is_some_and(|rest| ["", "_total", "_bucket", "_sum", "_count"].contains(&rest))
                });
                assert!(family.is_some_and(|family| help.contains(family)), "HELP and TYPE come before {line}");
                assert!(seen.insert(format!("{} {:?}", sample.name, sample.labels)), "twice: {line}");
                metrics.samples.push(sample);
            }
        }
        metrics
    }

    /// The sum of the samples of this name that have all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has =
            |sample: &Sample, (name, value): &(&str, &str)| sample.labels.iter().any(|(n, v)| n == name && v == value);
        self.samples
            .iter()
            .filter(|s| s.name == name && labels.iter().all(|label| has(s, label)))
            .map(|s| s.value)
            .sum()
    }

    /// Whether a sample of this name exists at all; a histogram has none but its buckets, its sum and its count.
    pub fn has(&self, name: &str) -> bool {
        let of_it = |sample: &Sample| sample.name.strip_prefix(name).is_some_and(|rest| ["", "_count"].contains(&rest));
        self.samples.iter().any(of_it)
    }
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let name = &line[..end];
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    assert!(!name.is_empty() && name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Vec::new();
    let mut rest = &line[end..];
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = inside.split_once("=\"").unwrap_or_else(|| panic!("label: {line}"));
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("label: {line}"));
            labels.push((label.to_owned(), value));
            inside = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &inside[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("value: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

/// A label's value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                same @ ('\\' | '"') => same,
                _ => return None,
            }),
            _ => value.push(letter),
        }
    }
    None
}
