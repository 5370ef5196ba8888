//! TLS as a server: who we are to clients. Owns certificates, their keys, and replacing them while connections live;
//! makes no connection. What speaks TLS on a socket takes a [`ServerConfig`] from here, and nobody else makes one.

pub mod certificates;
mod dates;

pub use rustls::ServerConfig;
