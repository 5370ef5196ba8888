//! The settings in force, all layers together, as `check-config --effective` prints them. Owns their form, which is
//! that of the file, and that no secret is in it.

use std::fmt::Write as _;

use super::load::{Layer, Loaded};
use super::schema::Schema;

/// Every setting as TOML, each that is no default with where it came from. Secrets are comments that say only whether
/// there is one.
pub fn effective<C: Schema>(loaded: &Loaded<C>) -> String {
    let (mut text, defaults) = (String::new(), C::default());
    for section in C::sections() {
        if !section.name.is_empty() {
            writeln!(text, "\n[{}]", section.name).expect("writing to a string");
        }
        for key in section.keys {
            let value = key.value(&loaded.config);
            let from = match loaded.layers.get(&key.path()) {
                None => "",
                Some(Layer::File) => "  # file",
                Some(Layer::Environment) => "  # environment",
                Some(Layer::Flag) => "  # flag",
            };
            let shown = match (key.secret, value == key.value(&defaults)) {
                (true, false) => format!("# {} is set and not shown{from}", key.name),
                _ => format!("{} = {value}{from}", key.name),
            };
            writeln!(text, "{shown}").expect("writing to a string");
        }
    }
    text
}
