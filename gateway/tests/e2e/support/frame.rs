//! goim frames as the tests write and read them (goim §1.1), written apart from the gateway's own decoder so that a
//! mistake there cannot hide here.

/// Operations (goim §1.2).
pub mod op {
    pub const HEARTBEAT: i32 = 2;
    pub const HEARTBEAT_REPLY: i32 = 3;
    pub const SEND_MESSAGE: i32 = 4;
    pub const AUTH: i32 = 7;
    pub const AUTH_REPLY: i32 = 8;
    pub const RAW: i32 = 9;
    pub const CHANGE_ROOM: i32 = 12;
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    pub const SUBSCRIBE: i32 = 14;
    pub const SUBSCRIBE_REPLY: i32 = 15;
    pub const UNSUBSCRIBE: i32 = 16;
    pub const UNSUBSCRIBE_REPLY: i32 = 17;
}

/// Bytes of a header.
pub const HEADER: usize = 16;

/// One frame with its own body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub ver: i16,
    pub op: i32,
    pub seq: i32,
    pub body: Vec<u8>,
}

impl Frame {
    pub fn new(op: i32, seq: i32, body: impl Into<Vec<u8>>) -> Frame {
        Frame { ver: 1, op, seq, body: body.into() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let pack = i32::try_from(HEADER + self.body.len()).expect("a frame of a test is small");
        let mut bytes = raw_header(pack, 16, self.ver, self.op, self.seq).to_vec();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The frame at the start of `bytes` and its length, or `None` while it is not whole. Panics on a header that no
    /// server may send: stock clients trust these lengths.
    pub fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
        let header = bytes.first_chunk::<HEADER>()?;
        let int = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let pack = usize::try_from(int(0)).expect("packLen is not negative");
        assert!(pack >= HEADER, "the server sent packLen {pack}");
        assert_eq!([header[4], header[5]], [0, 16], "the server sent another headerLen than 16");
        let body = bytes.get(HEADER..pack)?.to_vec();
        Some((Frame { ver: i16::from_be_bytes([header[6], header[7]]), op: int(8), seq: int(12), body }, pack))
    }

    /// All frames of `bytes`, which they must fill exactly.
    pub fn decode_all(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (frame, used) = Frame::decode(bytes).expect("the server sent a truncated frame");
            frames.push(frame);
            bytes = &bytes[used..];
        }
        frames
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body of a heartbeat reply: online of the room.
    pub fn online(&self) -> i32 {
        assert_eq!(self.op, op::HEARTBEAT_REPLY);
        i32::from_be_bytes(self.body.as_slice().try_into().expect("a heartbeat reply has 4 bytes"))
    }
}

/// A header with any fields, also ones that cannot be.
pub fn raw_header(pack: i32, header: i16, ver: i16, op: i32, seq: i32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&pack.to_be_bytes());
    bytes[4..6].copy_from_slice(&header.to_be_bytes());
    bytes[6..8].copy_from_slice(&ver.to_be_bytes());
    bytes[8..12].copy_from_slice(&op.to_be_bytes());
    bytes[12..].copy_from_slice(&seq.to_be_bytes());
    bytes
}

/// Bytes from their hexadecimal form.
pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// The golden vectors of goim §9 that travel between a client and a gateway, and from a job to a gateway.
pub mod golden {
    pub const F1: &str = "0000005f0010000100000007000000017b226d6964223a3132332c22726f6f6d5f6964223a226c6976653a2f2f3\
        1303030222c22706c6174666f726d223a22776562222c2261636365707473223a5b313030302c313030312c313030325d7d";
    pub const F2: &str = "00000010001000010000000800000001";
    pub const F3: &str = "00000010001000010000000200000001";
    /// F4 with online 1 in place of 7.
    pub const F4_ONE: &str = "0000001400100001000000030000000100000001";
    pub const F5: &str = "000000120010000100000004000000026869";
    pub const F6: &str = "00000010001000010000000400000002";
    pub const F7: &str = "0000001b001000010000000c000000036c6976653a2f2f32303030";
    pub const F8: &str = "0000001b001000010000000d000000036c6976653a2f2f32303030";
    pub const F9: &str = "00000019001000010000000e00000004313030332c31303034";
    pub const F10: &str = "00000019001000010000000f00000004313030332c31303034";
    pub const F11: &str = "0000001400100001000000100000000531303033";
    pub const F12: &str = "0000001400100001000000110000000531303033";
    pub const T1: &str = "0000001a00100001000003e8000000007b2274657374223a317d";
    pub const T2: &str =
        "0000001a00100001000003e8000000007b2274657374223a317d0000001a00100001000003e9000000007b2274657374223a327d";
    pub const W1: &str = "829037fa213d37fa212d37ea213c37fa213f37fa213c";
    pub const W2: &str = "821000000010001000010000000800000001";
    /// W3 with online 1 in place of 7.
    pub const W3_ONE: &str = "82140000001400100001000000030000000100000001";
    pub const W4: &str = "898237fa213d5f93";
    pub const W5: &str = "8a026869";
    pub const R1: &str = "822a0000002a0010000100000009000000000000001a00100001000003e8000000007b2274657374223a317d";
    pub const R2: &str = "8244000000440010000100000009000000000000001a00100001000003e8000000007b2274657374223a317d000\
        0001a00100001000003e9000000007b2274657374223a327d";
    pub const G1: &str = "0a026b310a026b32122008011009221a0000001a00100001000003e8000000007b2274657374223a317d18e807";
    pub const G2: &str = "08e807122008011009221a0000001a00100001000003e8000000007b2274657374223a317d1810";
    pub const G3: &str =
        "0a0b6c6976653a2f2f31303030122008011009221a0000001a00100001000003e8000000007b2274657374223a317d";
    pub const G4: &str = "0a0f0a0b6c6976653a2f2f313030301001";
}
