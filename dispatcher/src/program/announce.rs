//! Telling people that the program serves: the start lines on standard output. Owns their form.

use std::fmt::Write as _;
use std::io::Write as _;

use halley_service::plain::Plain;

use super::bound::Bound;
use super::check;
use super::settings::Config;

/// The start lines.
pub(super) fn greeting(config: &Config, origin: &str, bound: &Bound, notes: &[String]) -> String {
    let mut text = format!("halley-dispatcher {} is ready\n", env!("CARGO_PKG_VERSION"));
    let mut item = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "  {name:<9}{}", Plain(value)).expect("writing to a string");
    };
    item("settings", &origin);
    item("log", &config.kafka.describe());
    for (name, addresses) in bound.addresses.iter().filter(|(_, addresses)| !addresses.is_empty()) {
        item(name, &addresses.join(" "));
    }
    for danger in check::dangers(config) {
        item("INSECURE", &format_args!("{} (insecure = {:?})", danger.meaning, danger.name.word()));
    }
    notes.iter().for_each(|note| item("note", note));
    bound.fit.note.iter().for_each(|note| item("note", note));
    text
}

/// Print them. A reader that left is no failure.
pub(super) fn print(lines: &str) {
    let mut output = std::io::stdout();
    let _ = output.write_all(lines.as_bytes());
    let _ = output.flush();
}
