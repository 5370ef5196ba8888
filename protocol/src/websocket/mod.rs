//! WebSocket, server side (RFC 6455), sans-io. `handshake` reads the upgrade request, `frame` what follows it and what
//! is sent back. Owns the words both share; what a message means is `goim`'s.

pub mod frame;
pub mod handshake;
mod utf8;

/// How strictly client frames are read. What neither line names is RFC 6455 in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As goim's clients may need: unmasked frames and longer length forms than needed are accepted, text is treated as
    /// binary (a goim header is rarely UTF-8).
    ///
    /// goim also joins frames whatever their opcodes say and takes a lone continuation for a message (goim §1.5). No
    /// known client sends either, and to accept them would hide a lost frame, so they are refused here too.
    Goim,
    /// RFC 6455 to the letter: masking required, lengths in their shortest form, text checked as UTF-8.
    Strict,
}

/// Status of a close frame (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the connection has done what it was for.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server or the page goes away.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: a frame broke a rule of RFC 6455.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1007: a text message is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: the client may not do what it does.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: a message is longer than the server takes.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: a fault of the server.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// 1012: the server starts again (IANA's list).
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013: the server has no room now (IANA's list).
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);

    /// Any other code.
    pub const fn new(code: u16) -> CloseCode {
        CloseCode(code)
    }

    /// Whether the code may stand in a close frame: registered for use on the wire (IANA's list, up to 1014), or of the
    /// ranges for libraries and applications (3000..=4999). 1004 to 1006 and 1015 are never sent.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}
