//! What clients' WebSocket messages are to a shard. Owns the choice between goim, which a gateway serves, and what a
//! test of the connection code puts in its place; `transport` asks, and acts by the answer. It is a type, so the choice
//! is made when the program is built.

/// What connections are served with.
pub trait Application {
    /// A client has to log in, within the time of a handshake. Else it is online as soon as it has upgraded.
    const LOGIN: bool;

    /// What one whole message is; `text` says that it came as text.
    fn read<'m>(&self, message: &'m [u8], text: bool) -> Message<'m>;
}

/// What a shard makes of one whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'m> {
    /// goim frames, each of which takes effect by itself.
    Frames(&'m [u8]),
    /// A request whose answer is one message.
    Answered {
        /// The answer goes as text.
        text: bool,
        /// The whole answer.
        answer: &'m [u8],
    },
}

/// goim: clients log in by op 7, and every message holds frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Goim;

impl Application for Goim {
    const LOGIN: bool = true;

    #[inline]
    fn read<'m>(&self, message: &'m [u8], _: bool) -> Message<'m> {
        Message::Frames(message)
    }
}
