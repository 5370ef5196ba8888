//! What a request without a token tells about where it comes from. Owns three questions: is it from this machine, and
//! by no proxy; does it name us by a name that is ours; is no web page of others behind it. Decides nothing: `access`
//! does.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{self, ORIGIN};
use http::uri::Authority;
use http::{HeaderName, Version};

use super::{Caller, Peer};

/// Headers that programs and browsers send by themselves. Whatever else comes may be a proxy's mark.
const OWN_HEADERS: &[HeaderName] = &[
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::DNT,
    header::EXPECT,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::REFERER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::UPGRADE_INSECURE_REQUESTS,
    header::USER_AGENT,
];

/// More of them, without constants: browsers, curl, Prometheus, and what tracing libraries add (W3C Trace Context,
/// Baggage).
const OWN_NAMES: &[&str] = &[
    "baggage",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-previous-rpc-attempts",
    "grpc-tags-bin",
    "grpc-timeout",
    "grpc-trace-bin",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "priority",
    "save-data",
    "sec-gpc",
    "sec-purpose",
    "traceparent",
    "tracestate",
    "x-prometheus-scrape-timeout-seconds",
    "x-requested-with",
];

/// Beginnings of more, which browsers alone send.
const OWN_BEGINNINGS: &[&str] = &["sec-ch-", "sec-fetch-", "sec-websocket-"];

/// Characters of a header's name that an answer repeats.
const SHOWN_CHARACTERS_MAX: usize = 40;

/// Why a request without a token is not taken. Its text is a clause; it never tells how to look like a program on this
/// machine, since who reads it may stand behind a proxy that would then let everybody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFromHere {
    /// The peer is not 127.0.0.1 or ::1.
    Address,
    /// It bears this header, which may be the mark of a proxy.
    Proxy(String),
    /// It speaks HTTP/1.0, as proxies do.
    Version,
    /// The name that it has for us is not ours.
    Host,
    /// A web page of another site is behind it.
    Page,
}

impl fmt::Display for NotFromHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotFromHere::Address => f.write_str("this came from elsewhere"),
            NotFromHere::Proxy(name) => {
                write!(f, "this bears the header {name:?}, so it may have come through a proxy")
            }
            NotFromHere::Version => f.write_str("this speaks HTTP/1.0, so it may have come through a proxy"),
            NotFromHere::Host => f.write_str("this names us by a host that is neither an IP address nor localhost"),
            NotFromHere::Page => f.write_str("a web page of another site is behind this"),
        }
    }
}

/// Whether a request comes from a program on this machine, or from a page that we served to a browser on it.
pub fn this_machine(caller: &Caller<'_>, hosts: &[String]) -> Result<(), NotFromHere> {
    // Other addresses of 127.0.0.0/8 are those of relays, such as the 127.0.0.6 of service meshes.
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match caller.peer {
        Peer::Tcp(address) if here.contains(&address.ip().to_canonical()) => {}
        Peer::Unix => return Ok(()),
        Peer::Tcp(_) | Peer::Unknown => return Err(NotFromHere::Address),
    }
    if let Some(mark) = caller.headers.keys().find(|name| !is_own(name)) {
        return Err(NotFromHere::Proxy(mark.as_str().chars().take(SHOWN_CHARACTERS_MAX).collect()));
    }
    if caller.version < Version::HTTP_11 {
        return Err(NotFromHere::Version);
    }
    own_host(caller, hosts)
}

/// Whether a request knows us by a name of ours, and no page of others is behind it. A name that its owner can point to
/// our address (DNS rebinding) is none.
pub fn own_host(caller: &Caller<'_>, hosts: &[String]) -> Result<(), NotFromHere> {
    if !is_own_host(caller.host(), hosts) {
        return Err(NotFromHere::Host);
    }
    no_foreign_page(caller, hosts)
}

/// Whether no web page of another site is behind a request. Browsers say so in `Origin`, or in `Sec-Fetch-Site` where
/// the former is left away (Fetch Metadata Request Headers §2.3). No list of sites lets others in, as one does for
/// WebSocket upgrades.
pub fn no_foreign_page(caller: &Caller<'_>, hosts: &[String]) -> Result<(), NotFromHere> {
    let host = caller.host();
    let own_origin = match caller.headers.get(ORIGIN).map(|origin| origin.to_str()) {
        None => true,
        Some(Ok(origin)) => {
            let authority = match origin.split_once("://") {
                Some(("http" | "https", authority)) => authority,
                _ => "",
            };
            authority.eq_ignore_ascii_case(host) && is_own_host(host, hosts)
        }
        Some(Err(_)) => false,
    };
    let mut sites = caller.headers.get_all("sec-fetch-site").iter().map(http::HeaderValue::as_bytes);
    let own_site = sites.all(|site| site == b"same-origin" || site == b"none");
    if own_origin && own_site { Ok(()) } else { Err(NotFromHere::Page) }
}

fn is_own(name: &HeaderName) -> bool {
    OWN_HEADERS.contains(name)
        || OWN_NAMES.contains(&name.as_str())
        || OWN_BEGINNINGS.iter().any(|beginning| name.as_str().starts_with(beginning))
}

/// Whether a `Host` value is one of ours, whatever the port: an address, `localhost`, or one of `hosts`.
fn is_own_host(host: &str, hosts: &[String]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let name = authority.host();
    let is_port = |rest: &str| rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if !host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || is_port(rest)) {
        return false;
    }
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hosts_are_addresses_and_names_we_know() {
        let names = ["page.example".to_owned()];
        for own in ["127.0.0.1:3111", "[::1]:3111", "[::1]", "localhost", "LocalHost:1", "Page.Example:80", "192.0.2.1"]
        {
            assert!(is_own_host(own, &names), "{own}");
        }
        for foreign in [
            "",
            "[::1]evil.example",
            "[::1]:evil",
            "127.0.0.1:evil",
            "127.0.0.1:80:80",
            "127.0.0.1:",
            "a@127.0.0.1",
            "evil.example",
            "page.example.evil",
            "[evil]",
            "localhost.evil:80",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_own_host(foreign, &names), "{foreign}");
        }
    }
}
