//! One push, framed once: `[ws header][outer op-9 header][inner frames]`. TCP sends from the inner offset, WebSocket sends
//! all of it (goim §1.9).

/// An outgoing push in both its forms, in one buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Box<[u8]>,
    inner_offset: u8,
}

impl Payload {
    /// One message as frame{ver 1, op, seq 0, body}, wrapped for WebSocket in an op-9 frame.
    pub fn message(_op: i32, _body: &[u8]) -> Payload {
        unimplemented!()
    }
    /// Complete inner frames as stock jobs send them (the body of a `Proto` with op 9).
    pub fn raw(_frames: &[u8]) -> Payload {
        unimplemented!()
    }
    /// One frame sent plainly on both transports.
    pub fn plain(_version: i32, _op: i32, _seq: i32, _body: &[u8]) -> Payload {
        unimplemented!()
    }
    /// The bytes for one transport.
    pub fn bytes(&self, websocket: bool) -> &[u8] {
        if websocket { &self.bytes } else { &self.bytes[usize::from(self.inner_offset)..] }
    }
}
