//! The bytes of the measured traffic, written and read here without the gateway's own codec: goim frames (goim §1.1),
//! the login (goim §1.6) and just enough of a WebSocket client (RFC 6455). Nothing here touches a socket.

/// Bytes of a frame header.
pub(crate) const HEADER_BYTES: usize = 16;
/// The op of every measured push.
pub(crate) const PUSH_OP: i32 = 1000;
/// Login, its reply, and a batch of frames.
pub(crate) const AUTH_OP: i32 = 7;
/// Reply to a login.
pub(crate) const AUTH_REPLY_OP: i32 = 8;
/// A body made of whole frames.
pub(crate) const RAW_OP: i32 = 9;
/// Bytes of the answer to a login on the TCP transport: a frame without body.
pub(crate) const LOGIN_REPLY_BYTES: usize = HEADER_BYTES;

/// The upgrade that every WebSocket client sends first. The key is RFC 6455's example: nothing here needs it random.
pub(crate) const UPGRADE: &str = "GET /sub HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// How a client talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// Bare goim frames.
    Tcp,
    /// goim frames in binary WebSocket messages.
    Websocket,
}

/// A whole frame, version 1.
pub(crate) fn frame(op: i32, seq: i32, body: &[u8]) -> Vec<u8> {
    let pack = u32::try_from(HEADER_BYTES + body.len()).expect("a measured frame is small");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(pack.to_be_bytes());
    bytes.extend(16_u16.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(op.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// The op of the frame that `bytes` begins with, and its length; `None` while the header is not whole.
pub(crate) fn frame_header(bytes: &[u8]) -> Option<(i32, usize)> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let pack = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let op = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    Some((op, usize::try_from(pack).ok()?))
}

/// The key of client `index`.
pub(crate) fn key_of(index: u32) -> String {
    format!("{index:08x}-0000-4000-8000-{index:012x}")
}

/// The login of client `index`: a key of 36 bytes as logic itself makes them, a mid, a room and one accepted op.
pub(crate) fn login(index: u32, room: &str) -> Vec<u8> {
    let (mid, key) = (u64::from(index) + 1, key_of(index));
    let token = format!(r#"{{"mid":{mid},"key":"{key}","room_id":"{room}","platform":"perf","accepts":[{PUSH_OP}]}}"#);
    frame(AUTH_OP, 1, token.as_bytes())
}

/// A masked binary message of a client (RFC 6455 §5.2). The mask is fixed: it protects proxies, and there are none.
pub(crate) fn client_message(payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![0x82];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).expect("below 126")),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).expect("a login is below 64 KiB").to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    bytes
}

/// An unmasked binary message of a server, shortest form.
pub(crate) fn server_message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match payload.len() {
        short @ 0..126 => bytes.push(u8::try_from(short).expect("below 126")),
        long => {
            bytes.push(126);
            bytes.extend(u16::try_from(long).expect("a measured push is below 64 KiB").to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// What one release of pushes looks like: `pushes` calls, each of `frames_per_push` frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Calls in flight at once.
    pub pushes: u32,
    /// Frames in each call's op-9 body.
    pub frames_per_push: u32,
    /// Bytes of each frame's body.
    pub body_bytes: usize,
}

impl Round {
    /// Frames that one client receives.
    pub(crate) fn frames(&self) -> u32 {
        self.pushes * self.frames_per_push
    }

    /// The body of one call's op-9 proto: whole frames, as a job makes them (goim §1.9).
    pub(crate) fn push_body(&self) -> Vec<u8> {
        let body: Vec<u8> = (b'0'..=b'9').cycle().take(self.body_bytes).collect();
        frame(PUSH_OP, 0, &body).repeat(usize::try_from(self.frames_per_push).expect("fits"))
    }

    /// What one client receives for the whole round: inner frames alone on TCP, one message for each push on WebSocket.
    pub(crate) fn wire(&self, transport: Transport) -> Vec<u8> {
        let inner = self.push_body();
        let push = match transport {
            Transport::Tcp => inner,
            Transport::Websocket => server_message(&frame(RAW_OP, 0, &inner)),
        };
        push.repeat(usize::try_from(self.pushes).expect("fits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_push_is_26_bytes_on_tcp_and_its_header_is_goims() {
        let round = Round { pushes: 1, frames_per_push: 1, body_bytes: 10 };
        let mut expected = vec![0, 0, 0, 26, 0, 16, 0, 1, 0, 0, 3, 232, 0, 0, 0, 0];
        expected.extend(b"0123456789");
        assert_eq!(round.wire(Transport::Tcp), expected);
        assert_eq!(frame_header(&expected), Some((PUSH_OP, 26)));
    }

    #[test]
    fn a_batch_and_a_burst_differ_on_websocket_alone() {
        let batch = Round { pushes: 1, frames_per_push: 8, body_bytes: 10 };
        let burst = Round { pushes: 8, frames_per_push: 1, body_bytes: 10 };
        assert_eq!(batch.frames(), burst.frames());
        assert_eq!(batch.wire(Transport::Tcp), burst.wire(Transport::Tcp));
        assert_eq!(batch.wire(Transport::Websocket).len(), 4 + 16 + 8 * 26);
        assert_eq!(burst.wire(Transport::Websocket).len(), 8 * (2 + 16 + 26));
    }

    #[test]
    fn every_client_logs_in_with_a_key_of_its_own_of_36_bytes() {
        let key = |index| {
            let login = login(index, "perf://1");
            let token: serde_json::Value = serde_json::from_slice(&login[HEADER_BYTES..]).expect("a token is JSON");
            token["key"].as_str().expect("has a key").to_owned()
        };
        assert_eq!(key(7).len(), 36);
        assert_ne!(key(7), key(8));
    }

    #[test]
    fn a_client_message_is_masked_and_unmasks_to_its_payload() {
        let login = login(1, "perf://1");
        let message = client_message(&login);
        assert_eq!(message[1], 0x80 | 126, "a login needs the 16-bit length");
        let (mask, payload) = message[4..].split_at(4);
        let unmasked: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        assert_eq!(unmasked, login);
    }

    #[test]
    fn a_header_that_is_not_whole_is_not_read() {
        assert_eq!(frame_header(&[0; 15]), None);
    }
}
