//! Names that a request shows: the origin of a web page (RFC 6454, as browsers serialize it) and the host in `Host`.
//! Owns what can be such a name at all: an entry that nothing ever equals is a slip, and is refused with what to write
//! instead.

use std::net::{Ipv4Addr, Ipv6Addr};

use halley_service::config::value::words::DeValue;
use halley_service::plain::quoted;

use halley_service::config::value::{self, Value};

/// Characters of an entry that is repeated.
const SHOWN_CHARACTERS_MAX: usize = 80;
const EXAMPLE: &str = "https://app.example.org";

/// A value of the header `Origin`, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

/// A name in the header `Host`, without port, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

/// Makes a checked text a setting.
macro_rules! checked_text {
    ($type:ident, $place:literal, $fault:ident) => {
        impl Value for $type {
            const PLACE: &'static str = $place;

            fn from_toml(value: &DeValue<'_>) -> Result<Self, value::Fault> {
                String::from_toml(value).and_then(|text| Self::from_text(&text))
            }

            fn from_text(text: &str) -> Result<Self, value::Fault> {
                let text = String::from_text(text)?;
                match $fault(&text) {
                    None => Ok($type(text)),
                    Some(fault) => Err(value::Fault::Own(fault)),
                }
            }

            fn to_toml(&self) -> String {
                self.0.to_toml()
            }
        }
    };
}

checked_text!(Origin, "ORIGIN", origin_fault);
checked_text!(HostName, "NAME", host_fault);

/// Why no browser and no app ever sends this origin, as the end of a sentence; `None` if one may.
fn origin_fault(text: &str) -> Option<String> {
    // What a sandboxed page, or one from a file, sends.
    if text.eq_ignore_ascii_case("null") {
        return None;
    }
    let fault = common_fault(text, EXAMPLE);
    fault.or_else(|| {
        let Fault { why, write } = form_fault(text)?;
        Some(format!("holds {}, {why}: write {write:?}", quoted(text, SHOWN_CHARACTERS_MAX)))
    })
}

/// What is wrong with the form of an origin, as a clause, and what to write instead.
struct Fault {
    why: &'static str,
    write: String,
}

impl Fault {
    /// `write` is mended further, where it is still wrong.
    fn new(why: &'static str, write: String) -> Option<Fault> {
        let write = form_fault(&write).map_or(write, |fault| fault.write);
        Some(Fault { why, write })
    }

    fn with_example(why: &'static str) -> Option<Fault> {
        Some(Fault { why, write: EXAMPLE.to_owned() })
    }
}

/// Scheme, `://`, host, and a port that is not the scheme's own.
fn form_fault(text: &str) -> Option<Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let host = text.trim_start_matches('/').split(['/', '?', '#', '\\']).next().unwrap_or_default();
        return Fault::new("which has no scheme", format!("https://{host}"));
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Fault::with_example("which does not begin with a scheme");
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let why = match tail.chars().next() {
        None => return authority_fault(scheme, authority),
        Some('/') if tail.len() == 1 => "which has a slash at its end, and an origin has none",
        Some('/') => "which has a path, and an origin has none",
        Some('?') => "which has a query, and an origin has none",
        Some('#') => "which has a fragment, and an origin has none",
        Some(_) => "which has a backslash, and an origin has none",
    };
    Fault::new(why, format!("{scheme}://{authority}"))
}

fn authority_fault(scheme: &str, authority: &str) -> Option<Fault> {
    let fault = |why, authority: &str| Fault::new(why, format!("{scheme}://{authority}"));
    let port_at = authority.rfind(':').filter(|&at| !authority[at..].contains(']'));
    let (host, port) = port_at.map_or((authority, None), |at| (&authority[..at], Some(&authority[at + 1..])));
    if host.contains(':') && !host.starts_with('[') {
        return Fault::with_example("which has several colons behind its scheme, but no brackets for an IPv6 address");
    }
    let of_the_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    if let Some(port) = port {
        let number = port.parse::<u16>().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(number) = number else {
            return fault("which has no port behind its last colon", host);
        };
        let own = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
        if of_the_web && number == own {
            return fault("whose port is its scheme's own, which browsers leave out", host);
        }
        if port != number.to_string() {
            return fault("whose port begins with 0", &format!("{host}:{number}"));
        }
    }
    if host.is_empty() {
        // Pages from files send `file://`.
        return (of_the_web || port.is_some()).then(|| Fault::with_example("which names no host")).flatten();
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        let Some(address) = address else {
            return Fault::with_example("which has no IPv6 address in its brackets");
        };
        let canonical = format!("[{}]", as_browsers_write(address));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let other = !canonical.eq_ignore_ascii_case(host);
        return other
            .then(|| fault("whose IPv6 address browsers write in another form", &format!("{canonical}{port}")))
            .flatten();
    }
    if of_the_web {
        return name_fault(host).and_then(Fault::with_example);
    }
    // The names of apps are made of whatever their makers like.
    let right = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"',;<>[]^`{|}".contains(&byte));
    (!right).then(|| Fault::with_example("whose host has a character that no host has")).flatten()
}

/// What is wrong with a host name of the web, as a clause.
fn name_fault(host: &str) -> Option<&'static str> {
    if host.starts_with('.') {
        return Some("whose host begins with a dot, and no wildcard is known");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Some("whose host has a character that no host has");
    }
    // Browsers read a host whose last label is a number as an IPv4 address (WHATWG URL, host parsing), and write it in
    // one form.
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.to_ascii_lowercase();
    let hexadecimal =
        hexadecimal.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let number = hexadecimal || (!last.is_empty() && last.bytes().all(|digit| digit.is_ascii_digit()));
    (number && host.parse::<Ipv4Addr>().is_err()).then_some("whose host is no IPv4 address as browsers write it")
}

/// Why no request ever shows this host, as the end of a sentence; `None` if one may.
fn host_fault(text: &str) -> Option<String> {
    let example = "push.example.org";
    if let Some(fault) = common_fault(text, example) {
        return Some(fault);
    }
    let shown = quoted(text, SHOWN_CHARACTERS_MAX);
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let name = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let name = if name.starts_with('[') { name } else { name.split(':').next().unwrap_or_default() };
    if name.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("holds {shown}, which is an IP address: leave it out, addresses are ours anyway"));
    }
    if name != text {
        let write = if name.is_empty() { example } else { name };
        return Some(format!("holds {shown}, which is more than the name of a host: write {write:?}"));
    }
    name_fault(name).map(|fault| format!("holds {shown}, {fault}: write a name such as {example:?}"))
}

/// What is wrong with either kind of name.
fn common_fault(text: &str, example: &str) -> Option<String> {
    if text.is_empty() {
        return Some(format!("holds an empty entry: leave it out, or write a name such as {example:?}"));
    }
    // Before anything that repeats the text, which may hold a password.
    if text.contains('@') {
        return Some(format!(
            "holds an entry with a user name, which is no part of it: write it without, such as {example:?}"
        ));
    }
    let shown = quoted(text, SHOWN_CHARACTERS_MAX);
    if text.contains(char::is_whitespace) {
        return Some(format!(
            "holds {shown}, which has a blank: write each name as an entry of its own, without blanks"
        ));
    }
    if text.contains('*') {
        return Some(format!("holds {shown}, and no wildcard is known: name each in full, such as {example:?}"));
    }
    if !text.is_ascii() {
        return Some(format!(
            "holds {shown}, and browsers send ASCII alone: write it in punycode, as in \"xn--bcher-kva.example\""
        ));
    }
    None
}

/// As the URL standard of WHATWG serializes it: groups in hexadecimal throughout, the first longest run of zeros left
/// out.
fn as_browsers_write(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        // Rust writes the last four bytes of these in decimal.
        Some(_) => {
            let [.., high, low] = address.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_and_apps_send_is_taken() {
        for origin in [
            "https://app.example.org",
            "HTTPS://App.Example.org",
            "http://localhost",
            "http://localhost:3000",
            "https://localhost:80",
            "http://app.example.org:443",
            "https://app.example.org.",
            "https://my_app.example.org",
            "https://xn--bcher-kva.example",
            "https://1.example.org",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://[2001:db8::1]",
            "http://[::ffff:102:304]",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
            "vscode-webview://0a1b",
            // What Starscream, a library for iOS, makes of the address that it connects to.
            "wss://push.example.org",
            "file://",
            "null",
        ] {
            assert_eq!(origin_fault(origin), None, "{origin}");
        }
    }

    #[test]
    fn what_can_never_match_is_refused_with_what_to_write() {
        for (origin, part) in [
            ("", "holds an empty entry"),
            ("app.example.org", "has no scheme: write \"https://app.example.org\""),
            ("//app.example.org/x", "has no scheme: write \"https://app.example.org\""),
            ("localhost:3000", "has no scheme: write \"https://localhost:3000\""),
            ("https:app.example.org", "has no scheme"),
            ("https", "has no scheme"),
            ("about:blank", "has no scheme"),
            ("blob:https://app.example.org", "does not begin with a scheme"),
            ("\"https://app.example.org\"", "does not begin with a scheme"),
            ("~^https://app", "does not begin with a scheme"),
            ("://app.example.org", "does not begin with a scheme"),
            (
                "https://app.example.org/",
                "has a slash at its end, and an origin has none: write \"https://app.example.org\"",
            ),
            ("https://app.example.org/chat", "has a path, and an origin has none: write \"https://app.example.org\""),
            ("https://app.example.org?x=1", "has a query"),
            ("https://app.example.org#top", "has a fragment"),
            ("https://app.example.org\\", "has a backslash"),
            (
                "capacitor://localhost/",
                "has a slash at its end, and an origin has none: write \"capacitor://localhost\"",
            ),
            ("file:///", "has a slash at its end, and an origin has none: write \"file://\""),
            ("https://app.example.org:443", "browsers leave out: write \"https://app.example.org\""),
            ("HTTP://localhost:80", "browsers leave out: write \"HTTP://localhost\""),
            ("http://[::1]:80", "browsers leave out: write \"http://[::1]\""),
            ("https://app.example.org:0443", "browsers leave out"),
            (
                "https://app.example.org:443/",
                "has a slash at its end, and an origin has none: write \"https://app.example.org\"",
            ),
            ("app.example.org:443/x", "has no scheme: write \"https://app.example.org\""),
            ("https://app.example.org:", "has no port behind its last colon: write \"https://app.example.org\""),
            ("https://app.example.org:x", "has no port"),
            ("https://app.example.org:+1", "has no port"),
            ("https://app.example.org:70000", "has no port"),
            ("https://app.example.org:08443", "begins with 0: write \"https://app.example.org:8443\""),
            ("*", "no wildcard is known"),
            ("https://*", "no wildcard is known"),
            ("https://*.example.org", "no wildcard is known"),
            ("https://app.example.org:*", "no wildcard is known"),
            ("https://.example.org", "no wildcard is known"),
            (" https://app.example.org", "has a blank"),
            ("https://app.example.org ", "has a blank"),
            ("https://a.example https://b.example", "each name as an entry of its own"),
            ("https://bücher.example", "write it in punycode"),
            ("https://直播.example", "write it in punycode"),
            ("https://", "names no host"),
            ("https://:8080", "names no host"),
            ("https://a.example,b.example", "a character that no host has"),
            ("https://a%20b.example", "a character that no host has"),
            ("http://::1", "no brackets for an IPv6 address"),
            ("http://[::1", "no IPv6 address in its brackets"),
            ("http://[fe80::1%eth0]", "no IPv6 address in its brackets"),
            ("http://[0:0:0:0:0:0:0:1]:81", "in another form: write \"http://[::1]:81\""),
            ("http://[::ffff:1.2.3.4]", "in another form: write \"http://[::ffff:102:304]\""),
            ("http://127.1", "no IPv4 address"),
            ("http://127.000.000.001", "no IPv4 address"),
            ("http://2130706433", "no IPv4 address"),
            ("http://0x7f.0.0.1", "no IPv4 address"),
            ("http://127.0.0.1.", "no IPv4 address"),
        ] {
            let fault = origin_fault(origin).unwrap_or_else(|| panic!("{origin} is taken"));
            assert!(fault.contains(part), "{origin}: {fault}");
            if let Some(write) = fault.split("write \"").nth(1) {
                let write = write.split('"').next().expect("a quoted origin");
                assert!(write.contains("xn--") || origin_fault(write).is_none(), "{origin}: {write} is no better");
            }
        }
    }

    #[test]
    fn a_password_in_an_origin_is_not_repeated() {
        for origin in ["https://user:hunter2@app.example.org", "https://user:hun/ter2@app.example.org", "hunter2@app"] {
            let fault = origin_fault(origin).expect("refused");
            assert!(fault.contains("user name") && !fault.contains("hun"), "{fault}");
        }
    }

    #[test]
    fn a_host_is_a_name_alone() {
        for host in ["push.example.org", "Push", "my_host", "192.0.2.1"] {
            assert_eq!(host_fault(host), None, "{host}");
        }
        for (host, part) in [
            ("", "an empty entry"),
            ("push.example.org:3111", "write \"push.example.org\""),
            ("http://push.example.org/", "write \"push.example.org\""),
            ("push.example.org/demo", "write \"push.example.org\""),
            ("*.example.org", "no wildcard is known"),
            (".example.org", "no wildcard is known"),
            ("a b", "has a blank"),
            ("bücher.example", "punycode"),
            ("[::1]", "leave it out"),
            ("::1", "leave it out"),
            ("user:hunter2@push", "a user name"),
            ("a,b", "a character"),
        ] {
            let fault = host_fault(host).unwrap_or_else(|| panic!("{host} is taken"));
            assert!(fault.contains(part) && !fault.contains("hunter2"), "{host}: {fault}");
        }
    }
}
