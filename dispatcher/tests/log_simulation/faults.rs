//! Faults that are planted, each a rule of the log left out, to show that the runs would find it. Owns their list; each
//! is a lie that the harness tells the shipped code, or a thing that it does against the rule. No shipped code has a
//! switch for any of them.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// P1: "not leader" is taken for "not appended".
    NotLeaderIsRefused,
    /// P1: a request that was written and not answered is taken for one that was not written.
    SilenceIsRefused,
    /// P1: of several answers the last one decides.
    LastAnswerDecides,
    /// P2: after an unknown end the partition keeps its producer id, and the numbers begin again.
    IdIsKept,
    /// P3: a batch that is sent again gets a new producer id.
    NewIdOnRetry,
    /// P4: a push of which a part was refused is refused.
    PartDecides,
    /// P3: a broker that forgot the producer is taken for one that never appended.
    ForgottenIsRefused,
    /// The leader's word is enough for an answer.
    LeaderAlone,
    /// R1: what is read moves the position though the intake has no place for it.
    MovedWithoutPlace,
    /// R1: a handover counts as done when it is admitted.
    DoneWhenAdmitted,
    /// R2: what was answered before is taken for the answer to what is asked now.
    LateAnswerCounts,
    /// R3: the epoch of a position is never told.
    EpochNotTold,
    /// R3: a position that somebody finds out of range is given up for what they have.
    OutOfRangeIsGap,
    /// R3: a high watermark below the position is taken for the log's end.
    HighWatermarkIsEnd,
    /// R4: a log that was cut off is asked again until it is not.
    CutIsIgnored,
    /// R4, S4: nobody is told of a gap.
    GapIsSilent,
    /// R5: the next offset is reckoned from the number of records.
    OffsetsAreCounted,
    /// R6: what stays damaged is never gone past.
    PoisonStops,
    /// R7: a topic of the same name is taken for the same topic.
    SameName,
    /// R9: nothing bounds what is held.
    MemoryIsNotBounded,
    /// R10: the early filter counts down before the entry is gone.
    LoweredFirst,
    /// R10: the early filter counts up after the client was told.
    RaisedLate,
    /// R11: a broker that wants not to be asked is asked.
    ThrottleIsIgnored,
    /// S1: clients are let in before there are positions.
    ListensFirst,
    /// S1: the first position is the end of what the leader has, seen by readers or not.
    BeginsAtLogEnd,
    /// S4: of those who missed something not all are shed.
    ShedsHalf,
    /// S4: who logs in after a gap is shed too.
    ShedsNewcomers,
    /// S5: reading ends when it is told to drain.
    DrainsNothing,
}

impl Fault {
    pub const ALL: [Fault; 28] = [
        Fault::NotLeaderIsRefused,
        Fault::SilenceIsRefused,
        Fault::LastAnswerDecides,
        Fault::IdIsKept,
        Fault::NewIdOnRetry,
        Fault::PartDecides,
        Fault::ForgottenIsRefused,
        Fault::LeaderAlone,
        Fault::MovedWithoutPlace,
        Fault::DoneWhenAdmitted,
        Fault::LateAnswerCounts,
        Fault::EpochNotTold,
        Fault::OutOfRangeIsGap,
        Fault::HighWatermarkIsEnd,
        Fault::CutIsIgnored,
        Fault::GapIsSilent,
        Fault::OffsetsAreCounted,
        Fault::PoisonStops,
        Fault::SameName,
        Fault::MemoryIsNotBounded,
        Fault::LoweredFirst,
        Fault::RaisedLate,
        Fault::ThrottleIsIgnored,
        Fault::ListensFirst,
        Fault::BeginsAtLogEnd,
        Fault::ShedsHalf,
        Fault::ShedsNewcomers,
        Fault::DrainsNothing,
    ];
}
