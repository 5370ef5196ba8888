//! What must hold for any bytes at all. Each oracle takes arbitrary bytes and panics when a promise of the crate is
//! broken; the fuzzer feeds them what it invents, `corpus` what is stored, so both run the same code. Uses the crate's
//! public side.

pub mod goim;
pub mod jwt;
pub mod login_json;
pub mod look;
pub mod payload;
pub mod protobuf;
pub mod upgrade;
pub mod websocket;

/// An oracle.
pub type Oracle = fn(&[u8]);

/// Every oracle by the name of its fuzz target and of its corpus.
pub const ALL: [(&str, Oracle); 9] = [
    ("goim_message", goim::message),
    ("goim_stream", goim::stream),
    ("jwt", jwt::jwt),
    ("login_json", login_json::login_json),
    ("look", look::look),
    ("payload", payload::payload),
    ("protobuf", protobuf::protobuf),
    ("websocket_frames", websocket::frames),
    ("websocket_upgrade", upgrade::upgrade),
];

/// Where the network may cut a stream. Seed 0 cuts after every byte, 255 nowhere, the others in a way of their own.
pub struct Cuts {
    state: u64,
    seed: u8,
}

impl Cuts {
    pub fn new(seed: u8) -> Cuts {
        Cuts { state: 0x9e37_79b9_7f4a_7c15 ^ u64::from(seed), seed }
    }

    /// The stream in pieces, none of them empty.
    pub fn pieces<'a>(&mut self, mut stream: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !stream.is_empty() {
            let (piece, rest) = stream.split_at(self.next_length().min(stream.len()));
            pieces.push(piece);
            stream = rest;
        }
        pieces
    }

    fn next_length(&mut self) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        match self.seed {
            0 => 1,
            255 => usize::MAX,
            seed => 1 + usize::try_from(self.state % (2 * u64::from(seed))).expect("small"),
        }
    }
}
