//! What the addresses of several listeners say together: that other machines reach them, that two of them are one.
//! Owns the words for that; which listeners there are, and what follows, is the program's.

use std::net::{IpAddr, SocketAddr};

use super::schema::Finding;
use super::value::address::ListenAddress;

/// Addresses that other machines may reach, by the setting that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The settings.
    pub settings: Vec<&'static str>,
    /// "tcp_listen 0.0.0.0:3101 and ws_listen 0.0.0.0:3102".
    pub names: String,
    /// More than one address.
    pub several: bool,
}

impl Reachable {
    /// Those of these settings; none when nothing reaches them from outside.
    pub fn of(lists: &[(&'static str, &[SocketAddr])]) -> Option<Reachable> {
        let (mut settings, mut names, mut count) = (Vec::new(), Vec::new(), 0);
        for (name, list) in lists {
            let reachable: Vec<String> =
                list.iter().filter(|address| !is_local(address.ip())).map(ToString::to_string).collect();
            if !reachable.is_empty() {
                count += reachable.len();
                settings.push(*name);
                names.push(format!("{name} {}", reachable.join(", ")));
            }
        }
        (count > 0).then(|| Reachable { settings, names: names.join(" and "), several: count > 1 })
    }

    /// "lets", of one address.
    pub fn let_(&self) -> &'static str {
        if self.several { "let" } else { "lets" }
    }

    /// "is", of one address.
    pub fn is(&self) -> &'static str {
        if self.several { "are" } else { "is" }
    }

    /// The settings, and these besides.
    pub fn and(&self, others: &[&'static str]) -> Vec<&'static str> {
        self.settings.iter().chain(others).copied().collect()
    }
}

fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Those of TCP.
pub fn over_tcp(addresses: &[ListenAddress]) -> Vec<SocketAddr> {
    let tcp = |address: &ListenAddress| if let ListenAddress::Tcp(address) = address { Some(*address) } else { None };
    addresses.iter().filter_map(tcp).collect()
}

/// Addresses of which the kernel would refuse the second; `about` names a setting besides theirs that decides it.
pub fn twice(lists: &[(&'static str, &[SocketAddr])], ipv6_only: bool, about: &[&'static str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: Vec<(&'static str, SocketAddr)> = Vec::new();
    for &(name, list) in lists {
        for &address in list {
            let overlap = seen.iter().find(|(_, other)| overlaps(*other, address, ipv6_only));
            if let Some(&(other_name, other)) = overlap {
                let sentence = if other == address {
                    format!("{other_name} and {name} both name {address}: give each an address of its own")
                } else {
                    format!("{other_name} {other} and {name} {address} share a port: give each a port of its own")
                };
                findings.push(Finding::new(&[&[other_name, name], about].concat(), sentence));
            }
            seen.push((name, address));
        }
    }
    findings
}

/// Whether the kernel would refuse to listen on both.
fn overlaps(a: SocketAddr, b: SocketAddr, ipv6_only: bool) -> bool {
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv4() == other.is_ipv4() || (wide.is_ipv6() && !ipv6_only))
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}
