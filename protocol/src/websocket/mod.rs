//! WebSocket, server side (RFC 6455), sans-io.

pub mod frame;
pub mod handshake;

/// How strictly client frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As goim's clients may need: unmasked frames accepted, text treated as binary.
    Goim,
    /// RFC 6455 to the letter: masking required, text checked as UTF-8.
    Strict,
}

/// Status of a close frame (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1007.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// 1012.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);
    /// Any other code.
    pub const fn new(code: u16) -> CloseCode {
        CloseCode(code)
    }
}
