//! The configuration of a program: what can be set, where settings come from, and what is wrong with them. Owns
//! everything between the text a person wrote and the program's own [`Schema`]; opens no socket, starts nothing, and
//! knows no setting. The program judges settings together and makes its run-time types of them.
//!
//! | file | noun |
//! |---|---|
//! | `schema` | what a program says of its configuration |
//! | `key` | one setting, and the macro that makes settings known |
//! | `value` | the types a setting can have |
//! | `load`, `file` | the layers: defaults, file, environment, flags |
//! | `guess` | settings that were meant by names that do not exist |
//! | `problem` | everything that is wrong, as data and in sentences |
//! | `reading`, `changes` | reading all of it on a thread of its own; what a reload changes |
//! | `in_force` | the settings that a program runs by |
//! | `addresses` | what addresses say together |
//! | `reference`, `effective` | the reference file; the settings in force |

pub mod addresses;
pub mod changes;
mod effective;
mod file;
mod guess;
pub mod in_force;
pub mod key;
pub mod load;
pub mod problem;
pub mod reading;
pub mod reference;
pub mod schema;
pub mod value;

pub use effective::effective;
pub use in_force::InForce;
pub use load::{Draft, Flag, Known, Loaded, Sources, load};
pub use problem::{ConfigError, Problem};
pub use schema::Schema;
