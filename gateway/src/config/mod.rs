//! The gateway's configuration: what can be set, and what settings mean together. Owns the schema and the run-time
//! types the parts work by; opens no socket and starts nothing. The machinery is [`halley_service::config`]'s.
//!
//! | file | noun |
//! |---|---|
//! | `schema` | every setting, once |
//! | `words`, `origin` | types of settings that only the gateway has |
//! | `check` | settings judged together; dangers that must be asked for |
//! | `convert` | run-time types |

pub mod check;
pub mod convert;
pub mod origin;
pub mod schema;
pub mod words;

use halley_service::config::Schema;
use halley_service::config::key::Section;
use halley_service::config::schema::Finding;

pub use halley_service::config::{ConfigError, Known, Problem, Sources};
pub use schema::Config;
use schema::{PROGRAM, REFERENCE_HEAD, SECTIONS};

/// The gateway's configuration as far as it could be read.
pub type Draft = halley_service::config::Draft<Config>;
/// The gateway's configuration, and where it came from.
pub type Loaded = halley_service::config::Loaded<Config>;

impl Schema for Config {
    const PROGRAM: &'static str = PROGRAM;
    const VARIABLE_PREFIX: &'static str = "HALLEY_";
    const FILE_NAME: &'static str = "halley.toml";
    const EXAMPLE: &'static str = "node.region=sh";
    const REFERENCE_HEAD: &'static str = REFERENCE_HEAD;

    fn sections() -> &'static [Section<Config>] {
        SECTIONS
    }

    fn findings(&self) -> Vec<Finding> {
        check::findings(self)
    }
}

#[cfg(test)]
mod tests;
