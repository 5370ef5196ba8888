//! Addresses as settings: an IP address with a port, and where a listener is. Owns how they are written; opens nothing.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::{Fault, Value, text_of};

impl Value for SocketAddr {
    const PLACE: &'static str = "ADDRESS";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        Self::from_text(text_of(value, "an address in quotes")?)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        text.parse().map_err(|_| match text.strip_prefix(':').map(str::parse::<u16>) {
            Some(Ok(port)) => Fault::PortAlone { port },
            _ => Fault::NotAddress { given: text.to_owned() },
        })
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}

/// Where a listener is: an address, or a Unix-domain socket written `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Value for ListenAddress {
    const PLACE: &'static str = "ADDRESS";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        Self::from_text(text_of(value, "an address in quotes")?)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        match text.trim().strip_prefix("unix:") {
            Some("") => Err(Fault::NoSocketFile),
            Some(path) => Ok(ListenAddress::Unix(path.into())),
            None => {
                SocketAddr::from_text(text).map(ListenAddress::Tcp).map_err(|fault| Fault::NotListener(Box::new(fault)))
            }
        }
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}
