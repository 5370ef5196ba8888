//! What was pushed, what it was answered, and what came to whom: the judge. Owns the numbers of pushes and the rules by
//! which they are held against what sessions received; knows no socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

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

struct Push {
    sent: Instant,
    answer: Option<(Answer, Instant)>,
}

struct Session {
    number: usize,
    who: Who,
    opened: Instant,
    is_open: bool,
    /// In the order in which it came.
    received: Vec<PushId>,
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
        books.sessions.push(Session { number, who, opened: now, is_open: true, received: Vec::new() });
        number
    }

    /// Something came to a session.
    pub fn received(&self, session: usize, id: PushId) {
        self.0.lock().expect("nobody panicked").session(session).received.push(id);
    }

    /// A session has ended.
    pub fn closed(&self, session: usize) {
        self.0.lock().expect("nobody panicked").session(session).is_open = false;
    }

    /// A gateway has ended, and with it all of its sessions.
    pub fn closed_all(&self, gateway: usize) {
        let mut books = self.0.lock().expect("nobody panicked");
        let ended = books.sessions.iter_mut().filter(|session| session.who.gateway == gateway);
        ended.for_each(|session| session.is_open = false);
    }

    /// Sessions that are open.
    pub fn open_sessions(&self) -> usize {
        self.0.lock().expect("nobody panicked").sessions.iter().filter(|session| session.is_open).count()
    }

    /// Pushes without an answer, and how much came to all sessions so far.
    pub fn progress(&self) -> (usize, usize) {
        let books = self.0.lock().expect("nobody panicked");
        let waiting = books.pushes.values().filter(|push| push.answer.is_none()).count();
        (waiting, books.sessions.iter().map(|session| session.received.len()).sum())
    }

    /// Judges everything since the last time, and begins anew with the sessions that are open.
    pub fn judge(&self) -> Verdict {
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
            judge_session(&books, session, &mut verdict);
        }
        let judged = std::mem::take(&mut books.pushes);
        let answer = |push: Push| push.answer.map_or(Answer::Unknown, |(answer, _)| answer);
        books.judged.extend(judged.into_iter().map(|(id, push)| (id, answer(push))));
        books.sessions.retain(|session| session.is_open);
        books.sessions.iter_mut().for_each(|session| session.received.clear());
        verdict
    }
}

fn judge_session(books: &Books, session: &Session, verdict: &mut Verdict) {
    let Books { pushes, judged, .. } = books;
    let mut seen = BTreeSet::new();
    // When the latest push that came was sent, by stream.
    let mut latest: BTreeMap<Stream, Instant> = BTreeMap::new();
    for id in &session.received {
        let Some(push) = pushes.get(id) else {
            // Of a round before, at whose end nothing came any more.
            if judged[id] != Answer::Unknown {
                verdict.fault(|verdict| &mut verdict.doubled, format!("{id:?} came late to {:?}", session.who));
            }
            continue;
        };
        verdict.received += 1;
        let answer = push.answer;
        if !seen.insert(*id) {
            verdict.fault(|verdict| &mut verdict.doubled, format!("{id:?} came twice to {:?}", session.who));
            continue;
        }
        match answer {
            Some((Answer::Refused, _)) => {
                verdict.fault(
                    |verdict| &mut verdict.appeared,
                    format!("{id:?} was refused and came to {:?}", session.who),
                );
            }
            Some((Answer::Accepted, answered)) if latest.get(&id.stream).is_some_and(|sent| *sent > answered) => {
                let why = format!("{id:?} came to {:?} after a push that was sent when it was answered", session.who);
                verdict.fault(|verdict| &mut verdict.reordered, why);
            }
            _ => {}
        }
        let latest = latest.entry(id.stream).or_insert(push.sent);
        *latest = push.sent.max(*latest);
    }
    if !session.is_open {
        return;
    }
    verdict.stayed += 1;
    for (id, push) in pushes.iter().filter(|(id, _)| session.who.gets(id.stream)) {
        let accepted = matches!(push.answer, Some((Answer::Accepted, _)));
        if accepted && push.sent > session.opened && !seen.contains(id) {
            verdict.fault(|verdict| &mut verdict.lost, format!("{id:?} did not come to {:?}", session.who));
        }
    }
}

/// What was found, summed over rounds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    rounds: usize,
    /// Pushes answered with success.
    pub accepted: usize,
    refused: usize,
    unknown: usize,
    /// What came to all sessions.
    pub received: usize,
    stayed: usize,
    lost: usize,
    doubled: usize,
    reordered: usize,
    appeared: usize,
    /// A few of what was wrong.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Above the rows.
    pub const HEAD: &'static str = "fault              rounds  accepted  refused  unknown  received  stayed up  \
         lost  doubled  out of order  refused but came";

    fn fault(&mut self, count: impl Fn(&mut Verdict) -> &mut usize, example: String) {
        *count(self) += 1;
        if self.examples.len() < 10 {
            self.examples.push(example);
        }
    }

    /// Sums up.
    pub fn add(&mut self, other: &Verdict) {
        let pairs: [(&mut usize, usize); 10] = [
            (&mut self.rounds, other.rounds),
            (&mut self.accepted, other.accepted),
            (&mut self.refused, other.refused),
            (&mut self.unknown, other.unknown),
            (&mut self.received, other.received),
            (&mut self.stayed, other.stayed),
            (&mut self.lost, other.lost),
            (&mut self.doubled, other.doubled),
            (&mut self.reordered, other.reordered),
            (&mut self.appeared, other.appeared),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
        self.examples.extend(other.examples.iter().take(10_usize.saturating_sub(self.examples.len())).cloned());
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.appeared == 0
    }

    /// A line of the table.
    pub fn row(&self, name: &str) -> String {
        let Verdict {
            rounds, accepted, refused, unknown, received, stayed, lost, doubled, reordered, appeared, ..
        } = self;
        format!(
            "{name:<18} {rounds:>6}  {accepted:>8}  {refused:>7}  {unknown:>7}  {received:>8}  {stayed:>9}  {lost:>4}  \
             {doubled:>7}  {reordered:>12}  {appeared:>16}"
        )
    }
}

/// Each fault is found where it is planted, and nothing where none is: without this the test above could be empty.
#[test]
fn the_judge_finds_what_is_wrong() {
    let verdict = |answers: &[Answer], came: &[u64]| {
        let ledger = Ledger::default();
        let begin = Instant::now();
        let at = |ms: u64| begin + std::time::Duration::from_millis(ms);
        let session = ledger.opened(Who { gateway: 0, key: 1, mid: 2, room: 3 }, at(0));
        for (number, answer) in (1..).zip(answers) {
            let id = ledger.sent(Stream::Key(1), at(number * 10));
            ledger.answered(id, *answer, at(number * 10 + 5));
        }
        ledger.sent(Stream::Key(9), at(1));
        came.iter().for_each(|&number| ledger.received(session, PushId { stream: Stream::Key(1), number }));
        let Verdict { lost, doubled, reordered, appeared, .. } = ledger.judge();
        [lost, doubled, reordered, appeared]
    };
    use Answer::{Accepted, Refused, Unknown};
    assert_eq!(verdict(&[Accepted, Accepted, Refused, Unknown], &[1, 2]), [0, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Unknown], &[1, 2]), [0, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Accepted], &[2]), [1, 0, 0, 0]);
    assert_eq!(verdict(&[Accepted, Unknown], &[1, 2, 2]), [0, 1, 0, 0]);
    assert_eq!(verdict(&[Accepted, Accepted], &[2, 1]), [0, 0, 1, 0]);
    assert_eq!(verdict(&[Refused], &[1]), [0, 0, 0, 1]);
    assert_eq!(PushId::parse(PushId { stream: Stream::Room(7), number: 8 }.text().as_bytes()).number, 8);
}
