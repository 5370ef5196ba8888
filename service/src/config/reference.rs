//! The reference file of a program: every setting with its meaning, bounds and default, as `default-config` prints it.
//! Owns its form; it is made of the schema alone, so it cannot fall behind.

use std::fmt::Write as _;

use super::key::{Key, Reload};
use super::schema::Schema;

/// The whole file.
pub fn reference<C: Schema>() -> String {
    let defaults = C::default();
    let mut file = C::REFERENCE_HEAD.to_owned();
    for section in C::sections() {
        file.push('\n');
        for line in section.about {
            comment(&mut file, line);
        }
        if section.name.is_empty() {
            file.push('\n');
        } else {
            writeln!(file, "[{}]\n", section.name).expect("writing to a string");
        }
        for (index, key) in section.keys.iter().enumerate() {
            if index > 0 {
                file.push('\n');
            }
            for line in key.about {
                comment(&mut file, line);
            }
            if let Some(notes) = notes(key) {
                comment(&mut file, &notes);
            }
            writeln!(file, "#{} = {}", key.name, key.value(&defaults)).expect("writing to a string");
        }
    }
    file
}

/// Bounds and reload, in brackets.
fn notes<C>(key: &Key<C>) -> Option<String> {
    let bounds = key.bounds().map(|(low, high)| format!("({low} to {high})"));
    let reload = (key.reload == Reload::Live).then(|| "(reload)".to_owned());
    let notes: Vec<String> = bounds.into_iter().chain(reload).collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

fn comment(file: &mut String, line: &str) {
    writeln!(file, "# {}", line.trim()).expect("writing to a string");
}
