//! The gateway's configuration: what can be set, where settings come from, what they mean together. Owns everything between
//! the text a person wrote and the run-time types the parts work by; opens no socket and starts nothing.
//!
//! | file | noun |
//! |---|---|
//! | `schema` | every setting, once |
//! | `key`, `value` | what the schema is made of |
//! | `load`, `file` | the layers: defaults, file, environment, flags |
//! | `problems` | everything that is wrong, in sentences |
//! | `origin` | names of hosts and of web pages' origins |
//! | `check` | settings judged together; dangers that must be asked for |
//! | `convert` | run-time types |
//! | `reference`, `nearest` | the reference file; names that do not exist |

pub mod check;
pub mod convert;
mod file;
pub mod key;
pub mod load;
pub mod nearest;
pub mod origin;
pub mod problems;
pub mod reference;
pub mod schema;
pub mod value;

pub use load::{Draft, Flag, Known, Loaded, Sources, load};
pub use problems::ConfigError;
pub use schema::Config;

#[cfg(test)]
mod tests;
