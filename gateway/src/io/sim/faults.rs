//! How unpleasant the fake kernel is: percentages, and the two sets of them that tests use.

/// How unpleasant the kernel is, each in percent of the chances it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A send takes only a part although there is room.
    pub short_send: u32,
    /// Completions of a socket stay behind for this turn.
    pub late: u32,
    /// A readiness poll ends with its event.
    pub poll_ends: u32,
    /// An accept ends with an error although a client waits.
    pub accept_error: u32,
    /// A multishot accept ends with the connection it accepted, because the completion queue is full.
    pub accept_overflow: u32,
    /// A receive finds no buffer.
    pub no_buffer: u32,
    /// A receive gives fewer bytes than there are.
    pub short_receive: u32,
    /// The kernel does not say who the peer is.
    pub nameless: u32,
    /// What was outstanding at a close is still told before `Closed`.
    pub told_after_close: u32,
    /// What came before a reset can still be read.
    pub data_before_reset: u32,
    /// The doorbell seems to have rung.
    pub woken: u32,
}

impl Faults {
    /// A kernel on a good day.
    pub const NONE: Faults = Faults {
        short_send: 0,
        late: 0,
        poll_ends: 0,
        accept_error: 0,
        accept_overflow: 0,
        no_buffer: 0,
        short_receive: 0,
        nameless: 0,
        told_after_close: 0,
        data_before_reset: 0,
        woken: 0,
    };
    /// Everything, often.
    pub const ALL: Faults = Faults {
        short_send: 20,
        late: 30,
        poll_ends: 10,
        accept_error: 5,
        accept_overflow: 10,
        no_buffer: 10,
        short_receive: 30,
        nameless: 10,
        told_after_close: 50,
        data_before_reset: 50,
        woken: 10,
    };
}
