//! The gateway's configuration: what can be set, and what settings mean together. Owns the schema and the run-time types the
//! parts work by; opens no socket and starts nothing. The machinery is [`halley_service::config`]'s.
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

pub use halley_service::config::{ConfigError, Known, Problem, Sources};
pub use schema::Config;

/// The gateway's configuration as far as it could be read.
pub type Draft = halley_service::config::Draft<Config>;
/// The gateway's configuration, and where it came from.
pub type Loaded = halley_service::config::Loaded<Config>;

#[cfg(test)]
mod tests;
