//! Settings that were meant by names that do not exist. Owns the hint that a sentence about such a name ends with; what
//! is like what, `nearest` says.

use std::fmt;

use super::key::Key;
use super::schema::Schema;
use crate::nearest::nearest;

/// The setting that was meant by a name in a section.
pub(crate) fn guess<C: Schema>(section: &str, name: &str) -> Option<&'static Key<C>> {
    let named = |name: &str, within: &dyn Fn(&Key<C>) -> bool| C::keys().find(|key| key.name == name && within(key));
    // The very name in another section is a better guess than a similar one in this.
    named(name, &|key| key.section != section)
        .or_else(|| {
            let here = nearest(name, C::keys().filter(|key| key.section == section).map(|key| key.name))?;
            named(here, &|key| key.section == section)
        })
        .or_else(|| named(nearest(name, C::keys().map(|key| key.name))?, &|_| true))
}

/// What to say after a name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The name is right and stands before the first section.
    BeforeSections(&'static str),
    /// The name is right and stands in another section.
    InSection {
        /// The name.
        name: &'static str,
        /// The section.
        section: &'static str,
    },
    /// Something like it exists, written as here.
    DidYouMean(String),
    /// Nothing is like it: the reference file of this program lists all.
    ListedBy(&'static str),
}

impl Hint {
    /// The hint for a setting's name in a section.
    pub fn of<C: Schema>(section: &str, name: &str) -> Hint {
        match guess::<C>(section, name) {
            Some(key) if key.name == name && key.section.is_empty() => Hint::BeforeSections(key.name),
            Some(key) if key.name == name => Hint::InSection { name: key.name, section: key.section },
            Some(key) if key.section == section => Hint::DidYouMean(key.name.to_owned()),
            Some(key) => Hint::DidYouMean(key.path()),
            None => Hint::ListedBy(C::PROGRAM),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::BeforeSections(name) => write!(f, "; {name:?} stands before the first section"),
            Hint::InSection { name, section } => write!(f, "; {name:?} stands in the section [{section}]"),
            Hint::DidYouMean(name) => write!(f, "; did you mean {name:?}?"),
            Hint::ListedBy(program) => write!(f, "; `{program} default-config` lists all"),
        }
    }
}
