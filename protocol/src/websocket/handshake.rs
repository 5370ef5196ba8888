//! The upgrade request and its answer (RFC 6455 §4.2, goim §1.5). Owns what is accepted, what is refused, and the bytes
//! of either answer. Keeps nothing between calls: a request that is not whole is read again from its start, so its
//! length is bounded absolutely. After the 101 response the connection's bytes go to `frame::Decoder`.
//!
//! Accepted as goim accepts it, unless [`Rules::strict`] asks for what RFC 6455 §4.2.1 does: LF line ends, any HTTP/1
//! version, any non-empty key, no `Host`. Wider than goim: a query behind the path, the absolute form of the target,
//! and lists in `Upgrade` and `Connection`.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

/// What an upgrade request must be like.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Request path, without query: `/sub`.
    pub path: &'a str,
    /// Accepted `Origin` values, compared without regard to case; empty = any. A request without `Origin` does not come
    /// from a web page, which is all that this check can keep out, and is always accepted. Whether a page is one of our
    /// own is another question, asked of HTTP requests without a token (`service/src/access/from_here.rs`).
    pub origins: &'a [String],
    /// Bytes of the longest request.
    pub request_bytes_max: usize,
    /// HTTP/1.1, one `Host` and a key of 16 bytes in base64 are needed (RFC 6455 §4.2.1). goim looks at none of them.
    pub strict: bool,
}

/// What comes of the bytes of a request so far.
#[derive(Debug)]
pub enum Upgrade {
    /// Not enough bytes yet.
    Incomplete,
    /// Answer with [`Upgrade::Accepted::response`]; frames begin at `consumed`.
    Accepted {
        /// Bytes of the request.
        consumed: usize,
        /// The 101 response, exactly goim's lines in goim's order.
        response: [u8; RESPONSE_BYTES],
        /// Value of the `Cookie` header within the request.
        cookie: Option<Range<usize>>,
    },
    /// Answer with this HTTP error and close.
    Refused(Refusal),
}

/// Bytes of the 101 response.
pub const RESPONSE_BYTES: usize = RESPONSE_HEAD.len() + ACCEPT_BYTES + BLANK_LINE.len();

const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: ";
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// Base64 of a SHA-1 sum.
const ACCEPT_BYTES: usize = 28;
/// Bytes of the nonce in `Sec-WebSocket-Key` (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;
/// What RFC 6455 §1.3 appends to the key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Header lines of one request. Browsers send about twenty, each proxy adds a few.
const HEADERS_MAX: usize = 100;

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: not an upgrade request, or not HTTP.
    BadRequest,
    /// 400: not HTTP/1.1, where the rules are strict.
    HttpVersion,
    /// 400: no `Host`, or several, where the rules are strict.
    Host,
    /// 400: `Sec-WebSocket-Key` is not 16 bytes in base64, where the rules are strict.
    Key,
    /// 403: a page of an `Origin` that is not allowed.
    Origin,
    /// 404: another path than the endpoint's.
    Path,
    /// 405 with `Allow: GET`: another method than GET.
    Method,
    /// 426 with `Sec-WebSocket-Version: 13`: another version, or none.
    Version,
    /// 431: longer than `request_bytes_max`, or with more header lines than anybody sends.
    TooLarge,
}

/// A refusal: its status, headers of its own, the bytes of its body with the end of the line, and what it says.
macro_rules! answer {
    ($status:literal, $headers:literal, $bytes:literal, $says:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\n",
            $headers,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ",
            $bytes,
            "\r\nConnection: close\r\n\r\n",
            $says,
            "\n"
        )
    };
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Refusal; 9] = [
        Refusal::BadRequest,
        Refusal::HttpVersion,
        Refusal::Host,
        Refusal::Key,
        Refusal::Origin,
        Refusal::Path,
        Refusal::Method,
        Refusal::Version,
        Refusal::TooLarge,
    ];

    /// The whole HTTP response, `Connection: close`, with a one-line body that says what was wrong.
    pub fn response(self) -> &'static [u8] {
        let text = match self {
            Refusal::BadRequest => answer!(
                "400 Bad Request",
                "",
                115,
                "not a WebSocket upgrade: GET with Upgrade: websocket, Connection: Upgrade and one \
                 Sec-WebSocket-Key is needed here"
            ),
            Refusal::HttpVersion => answer!("400 Bad Request", "", 40, "a WebSocket upgrade must be of HTTP/1.1"),
            Refusal::Host => answer!("400 Bad Request", "", 42, "a WebSocket upgrade needs one Host header"),
            Refusal::Key => answer!("400 Bad Request", "", 45, "Sec-WebSocket-Key must be 16 bytes in base64"),
            Refusal::Origin => answer!("403 Forbidden", "", 48, "pages of this Origin are not allowed to connect"),
            Refusal::Path => {
                answer!("404 Not Found", "", 65, "no WebSocket endpoint at this path; goim clients connect to /sub")
            }
            Refusal::Method => {
                answer!("405 Method Not Allowed", "Allow: GET\r\n", 37, "a WebSocket upgrade is a GET request")
            }
            // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to, and `Connection` names that header.
            Refusal::Version => answer!(
                "426 Upgrade Required",
                "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
                53,
                "Sec-WebSocket-Version must be 13, no other is spoken"
            ),
            Refusal::TooLarge => {
                answer!("431 Request Header Fields Too Large", "", 47, "the request is longer than this server accepts")
            }
        };
        text.as_bytes()
    }
}

/// Read an upgrade request from the start of a stream. The answer does not depend on how the bytes were cut on their
/// way.
pub fn upgrade(input: &[u8], rules: &Rules<'_>) -> Upgrade {
    let head = &input[..input.len().min(rules.request_bytes_max)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(consumed)) => match check(&request, rules) {
            Ok(Accepted { key, cookie }) => Upgrade::Accepted {
                consumed,
                response: response(key),
                cookie: cookie.map(|value| {
                    let start = value.as_ptr().addr() - input.as_ptr().addr();
                    start..start + value.len()
                }),
            },
            Err(refusal) => Upgrade::Refused(refusal),
        },
        Ok(httparse::Status::Partial) if input.len() < rules.request_bytes_max => Upgrade::Incomplete,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Upgrade::Refused(Refusal::TooLarge),
        Err(_) => Upgrade::Refused(Refusal::BadRequest),
    }
}

/// What is wanted of a request that may upgrade.
struct Accepted<'a> {
    key: &'a [u8],
    cookie: Option<&'a [u8]>,
}

/// The checks in the order in which a person would want to hear of them: wrong door, wrong method, wrong protocol,
/// wrong version, not allowed.
fn check<'a>(request: &httparse::Request<'_, 'a>, rules: &Rules<'_>) -> Result<Accepted<'a>, Refusal> {
    if path(request.path.unwrap_or_default()) != rules.path {
        return Err(Refusal::Path);
    }
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let headers = Headers(request.headers);
    if !headers.list_contains("Upgrade", "websocket") || !headers.list_contains("Connection", "upgrade") {
        return Err(Refusal::BadRequest);
    }
    if !headers.are_all("Sec-WebSocket-Version", |version| version == b"13") {
        return Err(Refusal::Version);
    }
    let mut keys = headers.values("Sec-WebSocket-Key");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(Refusal::BadRequest);
    };
    if key.is_empty() {
        return Err(Refusal::BadRequest);
    }
    if rules.strict {
        if request.version != Some(1) {
            return Err(Refusal::HttpVersion);
        }
        let mut hosts = headers.values("Host");
        if hosts.next().is_none_or(<[u8]>::is_empty) || hosts.next().is_some() {
            return Err(Refusal::Host);
        }
        // Room for one byte more than is right; what does not fit is wrong as well.
        if BASE64.decode_slice(key, &mut [0; KEY_BYTES + 2]) != Ok(KEY_BYTES) {
            return Err(Refusal::Key);
        }
    }
    let is_allowed =
        |origin: &[u8]| rules.origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin));
    if !rules.origins.is_empty() && !headers.values("Origin").all(is_allowed) {
        return Err(Refusal::Origin);
    }
    Ok(Accepted { key, cookie: headers.values("Cookie").next() })
}

/// The path of a request target in origin form (`/sub?x`) or absolute form (`http://host/sub?x`), without its query.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Header lines, looked up by name without regard to case.
#[derive(Clone, Copy)]
struct Headers<'h, 'a>(&'h [httparse::Header<'a>]);

impl<'h, 'a> Headers<'h, 'a> {
    fn values(self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Whether the comma list that the lines of this name form together holds the token.
    fn list_contains(self, name: &'h str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether there is a line of this name and every one of them is right.
    fn are_all(self, name: &'h str, is_right: impl Fn(&[u8]) -> bool) -> bool {
        self.values(name).next().is_some() && self.values(name).all(is_right)
    }
}

/// The 101 response to a key.
fn response(key: &[u8]) -> [u8; RESPONSE_BYTES] {
    let sum = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut response = [0; RESPONSE_BYTES];
    let (head, rest) = response.split_at_mut(RESPONSE_HEAD.len());
    let (accept, blank_line) = rest.split_at_mut(ACCEPT_BYTES);
    head.copy_from_slice(RESPONSE_HEAD);
    BASE64.encode_slice(sum, accept).expect("20 bytes make 28 in base64");
    blank_line.copy_from_slice(BLANK_LINE);
    response
}
