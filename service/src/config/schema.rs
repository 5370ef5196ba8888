//! What a program says of its configuration. Owns the seam between the machinery here and the program's settings; holds
//! no setting. `settings!` makes the sections, `load` fills them.

use super::key::{Key, Section};

/// A program's configuration: every setting with its default.
pub trait Schema: Clone + Default + PartialEq + std::fmt::Debug + Send + 'static {
    /// The program as a person types it: `halley-gateway`. Hints name its commands.
    const PROGRAM: &'static str;
    /// What every environment variable of the program begins with: `HALLEY_`.
    const VARIABLE_PREFIX: &'static str;
    /// The file in the working directory that is read without being asked for.
    const FILE_NAME: &'static str;
    /// A setting with a value, as after `--set`: help and hints show it.
    const EXAMPLE: &'static str;
    /// What stands before the first section of the reference file, in comment lines.
    const REFERENCE_HEAD: &'static str;

    /// Every section, in the order of the reference file.
    fn sections() -> &'static [Section<Self>];

    /// What the settings say together and that cannot stay.
    fn findings(&self) -> Vec<Finding>;

    /// Every setting of every section.
    fn keys() -> impl Iterator<Item = &'static Key<Self>> {
        Self::sections().iter().flat_map(|section| section.keys)
    }

    /// The setting with this path: `section.name`, or just the name.
    fn find(path: &str) -> Option<&'static Key<Self>> {
        Self::keys().find(|key| key.path() == path)
    }
}

/// Something that settings say together and that cannot stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Paths of the settings that it is about: where one of them has no right value, there is nothing to say yet.
    pub about: Vec<&'static str>,
    /// What is wrong and what to do.
    pub sentence: String,
}

impl Finding {
    /// A finding about these settings.
    pub fn new(about: &[&'static str], sentence: impl Into<String>) -> Finding {
        Finding { about: about.to_vec(), sentence: sentence.into() }
    }
}
