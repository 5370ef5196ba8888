//! The gateway's configuration: what can be set, where settings come from, what they mean together. Owns everything between
//! the text a person wrote and the run-time types the parts work by; opens no socket and starts nothing.
//!
//! | file | noun |
//! |---|---|
//! | `schema` | every setting, once |
//! | `key`, `value` | what the schema is made of |
//! | `load` | the layers: defaults, file, environment, flags |
//! | `check` | settings judged together; dangers that must be asked for |
//! | `convert` | run-time types |
//! | `reference`, `nearest` | the reference file; guesses at misspelled names |

pub mod check;
pub mod convert;
pub mod key;
pub mod load;
pub mod nearest;
pub mod reference;
pub mod schema;
pub mod value;

pub use load::{ConfigError, Flag, Loaded, Sources, load};
pub use schema::Config;

#[cfg(test)]
mod tests;
