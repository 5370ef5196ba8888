//! "Every queue" of ARCHITECTURE.md: each row is a bound that the code has. Owns how a bound's definition is found and
//! how its number is written for people.

use super::{rows, section, ticked};
use crate::source::{read, root, sources};

const CELLS: [&str; 5] = ["queue", "bound", "rule when it is reached", "metric", "owner"];

const SCHEMA: &str = "gateway/src/config/schema.rs";
/// Where a section stands that several programs have.
const SHARED_SECTIONS: &str = "dispatcher/src/config/mod.rs";

/// What is wrong with these rows, one sentence each. `metrics` is the exposition with every name, `file` finds a
/// file's text.
fn faults(rows: &[Vec<&str>], metrics: &str, file: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for row in rows {
        let mut fault = |what: String| faults.push(format!("{}: {what}", row[0]));
        if row.len() != CELLS.len() || row.iter().any(|cell| cell.is_empty()) {
            fault(format!("a row has {CELLS:?}, each with something in it"));
            continue;
        }
        let (bound, metric) = (row[1], row[3]);
        let why = metric.strip_prefix("none: ");
        let named = if why.is_some() { Vec::new() } else { ticked(metric) };
        if named.is_empty() && why.is_none() {
            fault("it names a metric, or says `none:` and why it needs none".to_owned());
        }
        for name in named {
            let name = name.split('{').next().unwrap_or_default();
            if !metrics.lines().any(|line| line.starts_with(&format!("# TYPE {name} "))) {
                fault(format!("there is no metric `{name}`"));
            }
        }
        let [path, name] = ticked(row[4])[..] else {
            fault("its owner is a file and a name in it".to_owned());
            continue;
        };
        match file(path).map(|text| definition(path, &text, name)) {
            None => fault(format!("there is no {path}")),
            Some(None) => fault(format!("{path} defines no `{name}`")),
            Some(Some(value)) => {
                let forms = forms(name, &value);
                if !forms.is_empty() && !forms.iter().any(|form| has_number(bound, form)) {
                    fault(format!("`{name}` is {value}: one of {forms:?} belongs into the bound"));
                }
            }
        }
    }
    faults
}

/// What a constant, a static or, in small letters, a setting of the schema is defined as.
fn definition(path: &str, text: &str, name: &str) -> Option<String> {
    let kinds: &[&str] = match name.starts_with(char::is_uppercase) {
        true => &["const", "static"],
        false if [SCHEMA, SHARED_SECTIONS].contains(&path) => &["live", "restart"],
        false => return None,
    };
    let line = text.lines().map(str::trim_start).find(|line| {
        let line = line.trim_start_matches("pub(super) ").trim_start_matches("pub ");
        kinds.iter().any(|kind| line.starts_with(&format!("{kind} {name}:")))
    })?;
    let value = line.split_once(" = ").map(|(_, value)| value)?;
    Some(value.split(", in ").next().unwrap_or_default().trim_end_matches(';').to_owned())
}

/// How a person may read a value that is a number, bytes or a time; nothing for one that is more than that.
fn forms(name: &str, value: &str) -> Vec<String> {
    let wrapped = |start: &str| value.strip_prefix(start).and_then(|rest| rest.strip_suffix(')'));
    if let Some(seconds) = wrapped("Duration::from_secs(").and_then(number) {
        return vec![format!("{seconds} s")];
    }
    if let Some(milliseconds) = wrapped("Duration::from_millis(").and_then(number) {
        return vec![format!("{milliseconds} ms")];
    }
    let Some(number) = wrapped("Semaphore::const_new(").or(Some(value)).and_then(number) else { return Vec::new() };
    let mut forms = vec![with_commas(number)];
    for (unit, bytes) in [("KiB", 1024), ("MiB", 1024 * 1024)] {
        if number > 0 && number.is_multiple_of(bytes) {
            forms.push(format!("{} {unit}", with_commas(number / bytes)));
        }
    }
    let in_milliseconds = name.to_uppercase().split('_').any(|word| word == "MS");
    if in_milliseconds && number.is_multiple_of(1000) {
        forms.push(format!("{} s", number / 1000));
    }
    forms
}

/// Sums of products of whole numbers.
fn number(text: &str) -> Option<u64> {
    let whole = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    text.split('+').map(|product| product.split('*').map(whole).product::<Option<u64>>()).sum()
}

fn with_commas(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", with_commas(number / 1000), number % 1000) }
}

/// Whether the number stands there, and not a longer one.
fn has_number(text: &str, form: &str) -> bool {
    text.match_indices(form).any(|(at, _)| {
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
        let more = |rest: &str| rest.starts_with(',') && rest[1..].starts_with(|c: char| c.is_ascii_digit());
        let (before, after) = (&text[..at], &text[at + form.len()..]);
        let continued = before.ends_with(',') || before.ends_with('.');
        !part(before.chars().next_back()) && !continued && !part(after.chars().next()) && !more(after)
    })
}

fn exposition() -> String {
    let found = sources(&["metrics.golden.txt"]);
    assert_eq!(found.len(), 2, "the committed names: all without Kafka, and those of Kafka");
    found.into_iter().map(|part| part.text).collect()
}

#[test]
fn every_queue_has_the_bound_that_the_code_has() {
    let text = read("ARCHITECTURE.md");
    let rows = rows(section(&text, "## Every queue"));
    assert!(rows.len() > 60, "the table was found: {}", rows.len());
    let faults = faults(&rows, &exposition(), |path| std::fs::read_to_string(root().join(path)).ok());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Each rule is broken once, and must say so.
#[test]
fn a_wrong_row_is_noticed() {
    let metrics = "# TYPE halley_waiting gauge\nhalley_waiting\n";
    let file = |path: &str| match path {
        "a.rs" => Some("pub const WAITING_MAX: usize = 16 * 1024;\nconst LATE: Duration = Duration::from_secs(5);\n"),
        SCHEMA => Some("        live waiting_max: u32 = 16_384, in 1..=16_000_000;\n"),
        _ => None,
    };
    let said = |row: &str| faults(&rows(row), metrics, |path| file(path).map(str::to_owned)).join(" ");
    let good = "| q | 16,384 | waits | `halley_waiting{shard}` | `a.rs`: `WAITING_MAX` |";
    assert_eq!(said(good), "");
    assert_eq!(said(&good.replace("16,384", "16 KiB")), "");
    assert_eq!(said(&good.replace("`halley_waiting{shard}`", "none: nobody waits")), "");
    assert_eq!(said(&good.replace("a.rs", SCHEMA).replace("WAITING_MAX", "waiting_max")), "");
    assert_eq!(said("| q | at most 5 s | waits | `halley_waiting` | `a.rs`: `LATE` |"), "");
    for (from, to, sentence) in [
        (" waits ", " ", "each with something in it"),
        (" waits |", "", "each with something in it"),
        ("`halley_waiting{shard}`", "none", "why it needs none"),
        ("halley_waiting", "halley_wait", "no metric `halley_wait`"),
        ("a.rs", "b.rs", "there is no b.rs"),
        ("WAITING_MAX", "WAITING", "defines no `WAITING`"),
        ("WAITING_MAX", "waiting_max", "defines no `waiting_max`"),
        ("`a.rs`: ", "", "a file and a name"),
        ("16,384", "16,385", "belongs into the bound"),
        ("16,384", "116,384", "belongs into the bound"),
        ("16,384", "16,384,000", "belongs into the bound"),
        ("16,384", "16 MiB", "belongs into the bound"),
    ] {
        let row = good.replace(from, to);
        assert!(said(&row).contains(sentence), "{row}: {}", said(&row));
    }
}
