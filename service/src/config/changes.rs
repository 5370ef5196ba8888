//! What a reload changes. Owns the comparison of an old and a new configuration: what may change while the program runs
//! is taken over, what needs a restart keeps its value and is named.

use super::key::{Key, Reload};
use super::schema::Schema;

/// Settings that differ between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over: "limits.frames_burst 2000 -> 4000", of a secret its path alone.
    pub live: Vec<String>,
    /// Ignored until a restart, described alike.
    pub restart: Vec<String>,
}

/// The configuration to go on with: `old` with what may change taken from `new`; and what changed.
pub fn merge<C: Schema>(old: &C, new: &C) -> (C, Changes) {
    let mut merged = old.clone();
    let mut changes = Changes::default();
    for key in C::keys().filter(|key| key.value(old) != key.value(new)) {
        match key.reload {
            Reload::Live => {
                key.copy(new, &mut merged);
                changes.live.push(describe(key, old, new));
            }
            Reload::Restart => changes.restart.push(describe(key, old, new)),
        }
    }
    (merged, changes)
}

fn describe<C>(key: &Key<C>, old: &C, new: &C) -> String {
    if key.secret { key.path() } else { format!("{} {} -> {}", key.path(), key.value(old), key.value(new)) }
}
