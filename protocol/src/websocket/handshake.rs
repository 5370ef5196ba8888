//! The upgrade request and its answer.

use std::ops::Range;

/// What an upgrade request must be like.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Request path, without query: `/sub`.
    pub path: &'a str,
    /// Accepted `Origin` values, compared without regard to case; empty = any or none.
    pub origins: &'a [String],
    /// Bytes of the longest request.
    pub request_bytes_max: usize,
}

/// The outcome.
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
pub const RESPONSE_BYTES: usize = 129;

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: not an upgrade request, or not HTTP.
    BadRequest,
    /// 403.
    Origin,
    /// 404.
    Path,
    /// 405 with `Allow: GET`.
    Method,
    /// 426 with `Sec-WebSocket-Version: 13`.
    Version,
    /// 431: longer than `request_bytes_max`.
    TooLarge,
}

impl Refusal {
    /// The whole HTTP response, `Connection: close`, with a one-line body that says what was wrong.
    pub fn response(self) -> &'static [u8] {
        unimplemented!()
    }
}

/// Read an upgrade request from the start of a stream.
pub fn upgrade(_input: &[u8], _rules: &Rules<'_>) -> Upgrade {
    unimplemented!()
}
