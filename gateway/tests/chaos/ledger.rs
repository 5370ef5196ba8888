//! What was pushed, what it was answered, and what came to whom: the judge. Owns the numbers of pushes and the rules by
//! which they are held against what sessions received; knows no socket. What it finds is a [`Verdict`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::verdict::Verdict;

/// What was acknowledged so shortly before a session ended may not have come to it.
const TAIL: Duration = Duration::from_secs(1);

/// Somebody who is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// To which gateway.
    pub gateway: usize,
    /// Its key's number.
    pub key: u32,
    /// Its user.
    pub mid: u32,
    /// Its room's number.
    pub room: u32,
}

/// Pushes with one name, in which they have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// To a key.
    Key(u32),
    /// To a user.
    Mid(u32),
    /// To a room.
    Room(u32),
}

/// One push, as it names itself in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushId {
    /// Its name.
    pub stream: Stream,
    /// Its number, from 1.
    pub number: u64,
}

/// What a sender knows of his push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The log holds it.
    Accepted,
    /// Nothing of it will appear.
    Refused,
    /// It appears once, or not at all.
    Unknown,
}

/// What a fault makes of the sessions of a gateway that end by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// They are cut off: what was on its way to them is lost.
    Cut,
    /// They are sent away in order: up to then everything came.
    Drained,
    /// They are sent away because the gateway left something out: that once, and nothing else.
    Shed,
}

#[derive(Clone, Copy)]
struct Push {
    sent: Instant,
    answer: Option<(Answer, Instant)>,
}

struct Session {
    number: usize,
    who: Who,
    opened: Instant,
    ended: Option<Instant>,
    /// Since the last judgement, in the order in which it came.
    received: Vec<PushId>,
    /// Whatever came before.
    before: BTreeSet<PushId>,
}

#[derive(Default)]
struct Books {
    next: BTreeMap<Stream, u64>,
    pushes: BTreeMap<PushId, Push>,
    /// Those of rounds that are over.
    judged: BTreeMap<PushId, Answer>,
    sessions: Vec<Session>,
    /// Sessions so far.
    opened: usize,
}

/// Shared by who pushes and who receives.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

impl Books {
    fn session(&mut self, number: usize) -> &mut Session {
        let found = self.sessions.iter_mut().find(|session| session.number == number);
        found.expect("it was opened, and is kept until it was judged as closed")
    }
}

impl PushId {
    /// The message of the push.
    pub fn text(self) -> String {
        let (kind, name) = match self.stream {
            Stream::Key(key) => ("key", key),
            Stream::Mid(mid) => ("mid", mid),
            Stream::Room(room) => ("room", room),
        };
        format!("{kind} {name} {}", self.number)
    }

    /// As [`PushId::text`] wrote it.
    pub fn parse(text: &[u8]) -> PushId {
        let mut words = std::str::from_utf8(text).expect("a message of ours").split(' ');
        let (kind, name) = (words.next().expect("a kind"), words.next().expect("a name").parse().expect("a number"));
        let stream = match kind {
            "key" => Stream::Key(name),
            "mid" => Stream::Mid(name),
            _ => Stream::Room(name),
        };
        PushId { stream, number: words.next().expect("a number").parse().expect("a number") }
    }
}

impl Who {
    fn gets(&self, stream: Stream) -> bool {
        match stream {
            Stream::Key(key) => key == self.key,
            Stream::Mid(mid) => mid == self.mid,
            Stream::Room(room) => room == self.room,
        }
    }
}

impl Ledger {
    /// A push of this stream is sent; which one it is.
    pub fn sent(&self, stream: Stream, now: Instant) -> PushId {
        let mut books = self.0.lock().expect("nobody panicked");
        let number = books.next.entry(stream).or_default();
        *number += 1;
        let id = PushId { stream, number: *number };
        books.pushes.insert(id, Push { sent: now, answer: None });
        id
    }

    /// What it was answered.
    pub fn answered(&self, id: PushId, answer: Answer, now: Instant) {
        let mut books = self.0.lock().expect("nobody panicked");
        books.pushes.get_mut(&id).expect("it was sent").answer = Some((answer, now));
    }

    /// Somebody has logged in; the session's number.
    pub fn opened(&self, who: Who, now: Instant) -> usize {
        let mut books = self.0.lock().expect("nobody panicked");
        books.opened += 1;
        let number = books.opened;
        let (received, before) = (Vec::new(), BTreeSet::new());
        books.sessions.push(Session { number, who, opened: now, ended: None, received, before });
        number
    }

    /// Something came to a session.
    pub fn received(&self, session: usize, id: PushId) {
        self.0.lock().expect("nobody panicked").session(session).received.push(id);
    }

    /// A session has ended.
    pub fn closed(&self, session: usize, now: Instant) {
        self.0.lock().expect("nobody panicked").session(session).ended.get_or_insert(now);
    }

    /// A gateway has ended, and with it all of its sessions.
    pub fn closed_all(&self, gateway: usize, now: Instant) {
        let mut books = self.0.lock().expect("nobody panicked");
        let ended = books.sessions.iter_mut().filter(|session| session.who.gateway == gateway);
        ended.for_each(|session| _ = session.ended.get_or_insert(now));
    }

    /// Sessions that are open.
    pub fn open_sessions(&self) -> usize {
        self.0.lock().expect("nobody panicked").sessions.iter().filter(|session| session.ended.is_none()).count()
    }

    /// Pushes without an answer, and how much came to all sessions so far.
    pub fn progress(&self) -> (usize, usize) {
        let books = self.0.lock().expect("nobody panicked");
        let waiting = books.pushes.values().filter(|push| push.answer.is_none()).count();
        (waiting, books.sessions.iter().map(|session| session.received.len()).sum())
    }

    /// Judges everything since the last time, and begins anew with the sessions that are open. `ending` says how those
    /// of a gateway ended that did.
    pub fn judge(&self, ending: impl Fn(usize) -> Ending) -> Verdict {
        let mut books = self.0.lock().expect("nobody panicked");
        let mut verdict = Verdict { rounds: 1, ..Verdict::default() };
        for push in books.pushes.values() {
            match push.answer.map_or(Answer::Unknown, |(answer, _)| answer) {
                Answer::Accepted => verdict.accepted += 1,
                Answer::Refused => verdict.refused += 1,
                Answer::Unknown => verdict.unknown += 1,
            }
        }
        for session in &books.sessions {
            let seen = judge_received(&books, session, &mut verdict);
            match session.ended.map(|ended| (ending(session.who.gateway), ended)) {
                None => judge_whole(&books, session, &seen, &mut verdict),
                Some((Ending::Cut, _)) => {}
                Some((how, ended)) => judge_ended(&books, session, &seen, (how, ended), &mut verdict),
            }
        }
        let judged = std::mem::take(&mut books.pushes);
        let answer = |push: Push| push.answer.map_or(Answer::Unknown, |(answer, _)| answer);
        books.judged.extend(judged.into_iter().map(|(id, push)| (id, answer(push))));
        books.sessions.retain(|session| session.ended.is_none());
        for session in &mut books.sessions {
            session.before.extend(session.received.drain(..));
        }
        verdict
    }
}

/// What came, in its order: nothing twice, nothing that was refused, nothing behind what was sent later. Returns all of
/// this round.
fn judge_received(books: &Books, session: &Session, verdict: &mut Verdict) -> BTreeSet<PushId> {
    let Books { pushes, judged, .. } = books;
    let (who, mut seen, mut late) = (&session.who, BTreeSet::new(), session.before.clone());
    // When the latest push that came was sent, by stream.
    let mut latest: BTreeMap<Stream, Instant> = BTreeMap::new();
    for id in &session.received {
        let Some(push) = pushes.get(id) else {
            // Of a round before, at whose end nothing came any more: only what was in doubt may still come, once.
            match judged[id] {
                Answer::Unknown if late.insert(*id) => {}
                Answer::Unknown => verdict.doubled(format!("{id:?} came in a round and again later to {who:?}")),
                Answer::Accepted => verdict.doubled(format!("{id:?} came late to {who:?}")),
                Answer::Refused => verdict.appeared(format!("{id:?} was refused and came late to {who:?}")),
            }
            continue;
        };
        verdict.received += 1;
        if !seen.insert(*id) {
            verdict.doubled(format!("{id:?} came twice to {who:?}"));
            continue;
        }
        match push.answer {
            Some((Answer::Refused, _)) => verdict.appeared(format!("{id:?} was refused and came to {who:?}")),
            Some((Answer::Accepted, answered)) if latest.get(&id.stream).is_some_and(|sent| *sent > answered) => {
                verdict.reordered(format!("{id:?} came to {who:?} after a push that was sent when it was answered"));
            }
            _ => {}
        }
        let latest = latest.entry(id.stream).or_insert(push.sent);
        *latest = push.sent.max(*latest);
    }
    seen
}

/// Pushes to this session that were accepted, each with when it was sent and answered, by their numbers.
fn accepted<'a>(books: &'a Books, session: &'a Session) -> impl Iterator<Item = (PushId, Instant, Instant)> + 'a {
    let to_it = books.pushes.iter().filter(|(id, push)| session.who.gets(id.stream) && push.sent > session.opened);
    to_it.filter_map(|(id, push)| match push.answer {
        Some((Answer::Accepted, answered)) => Some((*id, push.sent, answered)),
        _ => None,
    })
}

/// Who is still connected has everything.
fn judge_whole(books: &Books, session: &Session, seen: &BTreeSet<PushId>, verdict: &mut Verdict) {
    let began = books.pushes.values().map(|push| push.sent).min();
    verdict.stayed += usize::from(began.is_some_and(|began| session.opened < began));
    for (id, ..) in accepted(books, session).filter(|(id, ..)| !seen.contains(id)) {
        verdict.lost(format!("{id:?} did not come to {:?}", session.who));
    }
}

/// Who was sent away has, of each stream, everything before the latest that came and everything that was acknowledged
/// well before the end; who was shed has missed one stretch of it.
fn judge_ended(
    books: &Books,
    session: &Session,
    seen: &BTreeSet<PushId>,
    (how, ended): (Ending, Instant),
    verdict: &mut Verdict,
) {
    let mut latest: BTreeMap<Stream, Instant> = BTreeMap::new();
    for id in seen {
        let sent = books.pushes[id].sent;
        let latest = latest.entry(id.stream).or_insert(sent);
        *latest = sent.max(*latest);
    }
    let is_due = |(id, _, answered): &(PushId, Instant, Instant)| {
        *answered + TAIL < ended || latest.get(&id.stream).is_some_and(|sent| sent > answered)
    };
    let mut stretches: BTreeMap<Stream, Vec<(PushId, Instant, Instant)>> = BTreeMap::new();
    for missing in accepted(books, session).filter(is_due).filter(|(id, ..)| !seen.contains(id)) {
        stretches.entry(missing.0.stream).or_default().push(missing);
    }
    for (stream, missing) in stretches {
        let (first, last) = (missing.iter().map(|it| it.2).min(), missing.iter().map(|it| it.1).max());
        let is_amid = |(id, sent, answered): &(PushId, Instant, Instant)| {
            id.stream == stream && Some(*sent) > first && Some(*answered) < last
        };
        let is_one = !accepted(books, session).filter(is_amid).any(|(id, ..)| seen.contains(&id));
        if how == Ending::Shed && is_one {
            continue;
        }
        for (id, ..) in missing {
            verdict.lost(format!("{id:?} did not come to {:?}, which was {how:?} later", session.who));
        }
    }
}

/// One session, and pushes to it every 10 ms, each answered 5 ms later.
#[cfg(test)]
struct Case {
    ledger: Ledger,
    begin: Instant,
    session: usize,
    sent: u64,
}

#[cfg(test)]
impl Case {
    fn new(answers: &[Answer], came: &[u64]) -> Case {
        let (ledger, begin) = (Ledger::default(), Instant::now());
        let session = ledger.opened(Who { gateway: 0, key: 1, mid: 2, room: 3 }, begin);
        let mut case = Case { ledger, begin, session, sent: 0 };
        case.go_on(answers, came);
        // To somebody else, and never answered.
        case.ledger.sent(Stream::Key(9), case.at(1));
        case
    }

    fn at(&self, ms: u64) -> Instant {
        self.begin + Duration::from_millis(ms)
    }

    fn go_on(&mut self, answers: &[Answer], came: &[u64]) {
        for answer in answers {
            self.sent += 1;
            let id = self.ledger.sent(Stream::Key(1), self.at(self.sent * 10));
            self.ledger.answered(id, *answer, self.at(self.sent * 10 + 5));
        }
        came.iter().for_each(|&number| self.ledger.received(self.session, PushId { stream: Stream::Key(1), number }));
    }

    fn end(self, ms: u64) -> Case {
        self.ledger.closed(self.session, self.at(ms));
        self
    }

    /// Lost, doubled, out of order, refused but came.
    fn judge(&self, how: Ending) -> [usize; 4] {
        let Verdict { lost, doubled, reordered, appeared, .. } = self.ledger.judge(|_| how);
        [lost, doubled, reordered, appeared]
    }
}

/// Each fault is found where it is planted, and nothing where none is: without this the test above could be empty.
#[test]
fn the_judge_finds_what_is_wrong() {
    use Answer::{Accepted, Refused, Unknown};
    let verdict = |answers: &[Answer], came: &[u64]| Case::new(answers, came).judge(Ending::Cut);
    assert_eq!(verdict(&[Accepted, Accepted, Refused, Unknown], &[1, 2]), [0, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Unknown], &[1, 2]), [0, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Accepted], &[2]), [1, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Unknown], &[1, 2, 2]), [0, 1, 0, 0]);
    assert_eq!(verdict(&[Accepted, Accepted], &[2, 1]), [0, 0, 1, 0]);
    assert_eq!(verdict(&[Refused], &[1]), [0, 0, 0, 1]);
    assert_eq!(PushId::parse(PushId { stream: Stream::Room(7), number: 8 }.text().as_bytes()).number, 8);
}

/// What is in doubt may come in its round or later, and not both; what was refused may not come later either.
#[test]
fn the_judge_remembers_earlier_rounds() {
    use Answer::{Accepted, Refused, Unknown};
    let later = |first: &[u64], rounds: &[&[u64]]| {
        let mut case = Case::new(&[Unknown, Refused, Accepted], first);
        assert_eq!(case.judge(Ending::Cut), [0, 0, 0, 0]);
        let mut sum = [0; 4];
        for came in rounds {
            case.go_on(&[], came);
            for (sum, found) in sum.iter_mut().zip(case.judge(Ending::Cut)) {
                *sum += found;
            }
        }
        sum
    };
    assert_eq!(later(&[3], &[&[1], &[]]), [0, 0, 0, 0]);
    assert_eq!(later(&[1, 3], &[&[], &[1]]), [0, 1, 0, 0]);
    assert_eq!(later(&[3], &[&[1], &[1]]), [0, 1, 0, 0]);
    assert_eq!(later(&[3], &[&[1, 1]]), [0, 1, 0, 0]);
    assert_eq!(later(&[3], &[&[3]]), [0, 1, 0, 0]);
    assert_eq!(later(&[3], &[&[2]]), [0, 0, 0, 1]);
}

/// A session that was sent away has a prefix without holes, and misses nothing that was acknowledged a second before;
/// one that was shed misses one stretch; of one that was cut off nothing is asked.
#[test]
fn the_judge_asks_sessions_that_ended() {
    let lost = |came: &[u64], end_ms: u64, how| Case::new(&[Answer::Accepted; 5], came).end(end_ms).judge(how)[0];
    let (soon, late) = (100, 2_000);
    assert_eq!(lost(&[1, 2, 3, 4, 5], late, Ending::Drained), 0);
    assert_eq!(lost(&[1, 2], soon, Ending::Drained), 0, "the rest was on its way");
    assert_eq!(lost(&[1, 2], late, Ending::Drained), 3, "the rest had its second");
    assert_eq!(lost(&[1, 3], soon, Ending::Drained), 1, "a hole");
    assert_eq!(lost(&[], late, Ending::Drained), 5);
    assert_eq!(lost(&[1, 4, 5], late, Ending::Shed), 0, "it was left out");
    assert_eq!(lost(&[1, 3, 5], late, Ending::Shed), 2, "two holes");
    assert_eq!(lost(&[1, 3], late, Ending::Cut), 0);
    assert_eq!(Case::new(&[Answer::Accepted; 2], &[2, 1]).end(late).judge(Ending::Shed)[2], 1, "out of order");
    assert_eq!(Case::new(&[Answer::Accepted; 2], &[1, 2, 2]).end(late).judge(Ending::Drained)[1], 1, "twice");
}

/// A round proves something only if pushes were accepted and came, and somebody was there from its begin to its end.
#[test]
fn the_judge_says_when_nothing_was_proved() {
    let proves = |case: &Case| case.ledger.judge(|_| Ending::Cut).proves_something();
    assert!(proves(&Case::new(&[Answer::Accepted], &[1])));
    assert!(!proves(&Case::new(&[Answer::Refused], &[])), "nothing accepted");
    assert!(!proves(&Case::new(&[Answer::Accepted], &[])), "nothing received");
    assert!(!proves(&Case::new(&[Answer::Accepted], &[1]).end(50)), "nobody stayed");
    let late = Case { ledger: Ledger::default(), ..Case::new(&[], &[]) };
    let id = late.ledger.sent(Stream::Key(1), late.at(10));
    late.ledger.answered(id, Answer::Accepted, late.at(15));
    let session = late.ledger.opened(Who { gateway: 0, key: 1, mid: 2, room: 3 }, late.at(20));
    late.ledger.received(session, id);
    assert!(!proves(&late), "who came later did not stay");
}
