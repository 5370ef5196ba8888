//! One connection to a broker. Owns who speaks when on it ([`core`], pure), how to be let in ([`login`], [`scram`],
//! [`tls`]), and the socket ([`driver`]).

pub mod core;
pub mod driver;
pub mod login;
pub mod scram;
pub mod tls;
