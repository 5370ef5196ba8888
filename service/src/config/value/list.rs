//! Several values in one setting. Owns their separators: an array in the file, commas in an environment variable; a
//! flag may be repeated.

use toml::de::DeValue;

use super::{Fault, Faults, Value};

impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;
    const LIST: bool = true;
    const PLACE: &'static str = T::PLACE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        Self::read_toml(value).map_err(first)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        Self::read_text(text).map_err(first)
    }

    fn read_toml(value: &DeValue<'_>) -> Result<Self, Faults> {
        match value {
            DeValue::Array(items) => all(items.iter().map(|item| T::from_toml(item.get_ref()))),
            single => T::read_toml(single).map(|single| vec![single]),
        }
    }

    fn read_text(text: &str) -> Result<Self, Faults> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        all(text.split(',').map(|item| T::from_text(item.trim())))
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(Value::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

fn first(mut faults: Faults) -> Fault {
    faults.0.swap_remove(0)
}

/// Every item, or what is wrong with any of them.
fn all<T>(items: impl Iterator<Item = Result<T, Fault>>) -> Result<Vec<T>, Faults> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(fault) => wrong.push(fault),
        }
    }
    // The same slip in several items is one thing to say.
    wrong.dedup();
    if wrong.is_empty() { Ok(good) } else { Err(Faults(wrong)) }
}
