//! One connection to a broker as events and actions. Owns the order on it: versions, log-in, then requests whose
//! answers come in their order; deadlines, throttling, logging in again. Knows no socket and no clock: time is handed
//! in. Says of a request that ends without answer whether any of it may have reached the broker (rule P1 of the log).
//! Next step on the way out: [`super::driver`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;

use super::login::{Login, Step};
use crate::bus::kafka::codes;
use crate::bus::kafka::error::{ErrorKind, RequestError};
use crate::bus::kafka::settings::Sasl;
use crate::bus::kafka::wire::answer::{self, Response};
use crate::bus::kafka::wire::api::{Api, Range, Versions};
use crate::bus::kafka::wire::frame;
use crate::bus::kafka::wire::request::Request;

/// Requests that wait to be sent, at most.
pub const QUEUE_MAX: usize = 256;
/// Requests whose answers are awaited, at most. A broker works on one at a time.
pub const IN_FLIGHT_MAX: usize = 32;
/// Bytes that are handed out to be written in one go, unless one request is longer.
const OUTPUT_BYTES: usize = 256 * 1024;
/// Of the time for which a log-in is good, the hundredths after which we log in again.
const LOGIN_AGAIN_PERCENT: u64 = 85;
/// A connection that nobody uses is closed after this long: just before brokers do it, which would leave a request that
/// comes at that moment in doubt.
const IDLE: Duration = Duration::from_secs(9 * 60);
/// A broker that throttles is believed so far.
pub const THROTTLE_MAX: Duration = Duration::from_secs(60);
/// Characters of a nonce: about 190 bits.
const NONCE_CHARS: usize = 32;

/// What a connection is made with.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How people are told of the broker: `broker 2 (kafka-2:9092)`.
    pub broker: Arc<str>,
    /// What the broker calls us.
    pub client_id: StrBytes,
    /// How to log in.
    pub sasl: Option<Sasl>,
    /// Bytes of an answer at most.
    pub answer_bytes_max: u32,
    /// For versions and log-in together.
    pub open_timeout: Duration,
}

/// How far the connection is.
#[derive(Debug)]
enum Phase {
    /// The broker was asked for its versions.
    Versions,
    /// A log-in is under way, the first or a later one.
    Login(Login),
    /// Requests may be sent.
    Ready,
    /// It is over; nothing is sent and nothing is read.
    Closed,
}

/// A request that waits or is sent.
#[derive(Debug)]
struct Pending<T> {
    token: T,
    request: Request,
    deadline: Duration,
}

/// A request that was handed out to be written.
#[derive(Debug)]
struct Sent<T> {
    correlation: i32,
    api: Api,
    version: i16,
    /// Whose it is; `None` for those of the connection itself.
    asker: Option<T>,
    deadline: Duration,
}

/// What became of a request: by its token.
pub type Done<T> = (T, Result<Response, RequestError>);

/// The connection. `T` is whatever the asker wants to see again with the answer.
#[derive(Debug)]
pub struct Connection<T> {
    profile: Profile,
    rng: StdRng,
    phase: Phase,
    versions: Versions,
    queue: VecDeque<Pending<T>>,
    sent: VecDeque<Sent<T>>,
    /// Requests of the connection itself, encoded.
    own: BytesMut,
    correlation: i32,
    muted_until: Duration,
    login_again_at: Option<Duration>,
    last_used: Duration,
    /// Whether anybody was answered yet.
    answered: bool,
    done: VecDeque<Done<T>>,
    /// Why it is over.
    closed: Option<RequestError>,
}

impl<T> Connection<T> {
    /// A connection that was just made: the broker is asked for its versions.
    pub fn open(profile: Profile, rng: StdRng, now: Duration) -> Connection<T> {
        let mut connection = Connection {
            profile,
            rng,
            phase: Phase::Versions,
            versions: Versions::default(),
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            own: BytesMut::new(),
            correlation: 0,
            muted_until: Duration::ZERO,
            login_again_at: None,
            last_used: now,
            answered: false,
            done: VecDeque::new(),
            closed: None,
        };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("halley"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let deadline = now + connection.profile.open_timeout;
        connection.send_own(Request::ApiVersions(request), Api::ApiVersions.ours().max, deadline);
        connection
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Why it is over, once it is.
    pub fn closed(&self) -> Option<&RequestError> {
        self.closed.as_ref()
    }

    /// What the broker and we agreed on; nothing before [`Connection::is_ready`].
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Requests that are not answered yet, the connection's own left out.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.sent.iter().filter(|sent| sent.asker.is_some()).count()
    }

    /// Ask. The answer, or why there is none, comes from [`Connection::next_done`].
    pub fn ask(&mut self, token: T, request: Request, deadline: Duration) {
        if let Some(closed) = &self.closed {
            let error = RequestError { written: false, ..closed.clone() };
            self.done.push_back((token, Err(error)));
        } else if self.queue.len() >= QUEUE_MAX {
            let text = format!("{} is asked for more than it answers: {QUEUE_MAX} requests wait", self.profile.broker);
            self.done.push_back((token, Err(RequestError::unsent(ErrorKind::Busy, text))));
        } else {
            self.queue.push_back(Pending { token, request, deadline });
        }
    }

    /// Bytes to write now, if any. From here on their requests may have reached the broker.
    pub fn output(&mut self, now: Duration) -> Option<Bytes> {
        let mut out = std::mem::take(&mut self.own);
        self.begin_login_again(now, &mut out);
        while matches!(self.phase, Phase::Ready)
            && self.login_again_at.is_none_or(|at| now < at)
            && now >= self.muted_until
            && self.sent.len() < IN_FLIGHT_MAX
            && out.len() < OUTPUT_BYTES
        {
            let Some(pending) = self.queue.pop_front() else { break };
            if pending.deadline <= now {
                self.expire(pending);
                continue;
            }
            self.encode(pending, &mut out);
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// Bytes have come: take what is whole.
    pub fn received(&mut self, now: Duration, received: &mut BytesMut) {
        while self.closed.is_none() {
            match frame::next_frame(received, self.profile.answer_bytes_max) {
                Ok(Some(frame)) => self.frame(now, frame),
                Ok(None) => return,
                Err(bad) => {
                    let text = format!(
                        "{} says that an answer of {} bytes comes, of {} at most: is it Kafka, and is TLS on at both \
                         ends?",
                        self.profile.broker, bad.length, bad.bytes_max
                    );
                    self.close(ErrorKind::Unsuited, &text);
                }
            }
        }
    }

    /// How many bytes to make room for before the next read.
    pub fn room_wanted(&self, received: &BytesMut) -> usize {
        frame::room_wanted(received, self.profile.answer_bytes_max)
    }

    /// Time has passed: see to deadlines. A late answer would be taken for that of another request, or keep others
    /// waiting: the connection is over when one that was sent is late.
    pub fn tick(&mut self, now: Duration) {
        if self.closed.is_some() {
            return;
        }
        for at in (0..self.queue.len()).rev() {
            if self.queue[at].deadline <= now
                && let Some(pending) = self.queue.remove(at)
            {
                self.expire(pending);
            }
        }
        if let Some(late) = self.sent.iter().find(|sent| sent.deadline <= now) {
            let text = format!("{} did not answer to {:?} in time", self.profile.broker, late.api);
            self.close(ErrorKind::TimedOut, &text);
        } else if self.is_unused() && now >= self.last_used + IDLE {
            let text = format!("the connection to {} was not used for {IDLE:?}", self.profile.broker);
            self.close(ErrorKind::Broken, &text);
        }
    }

    /// When to come back though nothing has happened.
    pub fn wake_at(&self, now: Duration) -> Option<Duration> {
        let deadlines = self.sent.iter().map(|sent| sent.deadline).chain(self.queue.iter().map(|one| one.deadline));
        let muted = (!self.queue.is_empty() && self.muted_until > now).then_some(self.muted_until);
        let idle = self.is_unused().then_some(self.last_used + IDLE);
        deadlines.chain(muted).chain(idle).chain(self.login_again_at.filter(|&at| at > now)).min()
    }

    /// The socket is gone; `reason` is the end of a sentence about the broker.
    pub fn lost(&mut self, reason: &str) {
        if self.closed.is_some() {
            return;
        }
        // A broker that wants a log-in says what it speaks to anybody, and closes at the first question.
        let hint = match (!self.answered, &self.profile.sasl) {
            (false, _) => "",
            (true, Some(_)) => ": does this listener expect TLS, or no log-in?",
            (true, None) => ": does this listener expect TLS or a log-in?",
        };
        let text = format!("{} {reason}{hint}", self.profile.broker);
        self.close(ErrorKind::Broken, &text);
    }

    /// What became of a request.
    pub fn next_done(&mut self) -> Option<Done<T>> {
        self.done.pop_front()
    }

    fn is_unused(&self) -> bool {
        self.is_ready() && self.queue.is_empty() && self.sent.is_empty()
    }

    fn expire(&mut self, pending: Pending<T>) {
        let why = if self.is_ready() { "had no room for" } else { "let us in too late for" };
        let text = format!("{} {why} {:?} in time", self.profile.broker, pending.request.api());
        self.done.push_back((pending.token, Err(RequestError::unsent(ErrorKind::TimedOut, text))));
    }

    fn next_correlation(&mut self) -> i32 {
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        self.correlation
    }

    fn encode(&mut self, pending: Pending<T>, out: &mut BytesMut) {
        let Pending { token, request, deadline } = pending;
        let (api, broker) = (request.api(), Arc::clone(&self.profile.broker));
        let Some(version) = self.versions.of(api) else {
            let text = format!("{broker} knows no version of {api:?} that is spoken here: upgrade the brokers");
            self.done.push_back((token, Err(RequestError::unsent(ErrorKind::Unsuited, text))));
            return;
        };
        let correlation = self.next_correlation();
        match request.encode(version, correlation, &self.profile.client_id, out) {
            Ok(()) => self.sent.push_back(Sent { correlation, api, version, asker: Some(token), deadline }),
            Err(unencodable) => {
                let text = format!("{api:?} for {broker} cannot be written: {}", unencodable.0);
                self.done.push_back((token, Err(RequestError::unsent(ErrorKind::Unsuited, text))));
            }
        }
    }

    fn send_own(&mut self, request: Request, version: i16, deadline: Duration) {
        let correlation = self.next_correlation();
        let mut own = std::mem::take(&mut self.own);
        let encoded = request.encode(version, correlation, &self.profile.client_id, &mut own);
        self.own = own;
        if encoded.is_err() {
            let text = format!("{:?} cannot be written: is the client id longer than 32,767 bytes?", request.api());
            return self.close(ErrorKind::Unsuited, &text);
        }
        self.sent.push_back(Sent { correlation, api: request.api(), version, asker: None, deadline });
    }

    /// Log in again when it is time and nothing is under way: what is sent during a log-in would end the connection.
    fn begin_login_again(&mut self, now: Duration, out: &mut BytesMut) {
        let due = self.login_again_at.is_some_and(|at| at <= now);
        if due && matches!(self.phase, Phase::Ready) && self.sent.is_empty() {
            self.login_again_at = None;
            self.begin_login(now);
            out.unsplit(std::mem::take(&mut self.own));
        }
    }

    fn begin_login(&mut self, now: Duration) {
        let Some(sasl) = &self.profile.sasl else {
            self.phase = Phase::Ready;
            return;
        };
        let nonce = (&mut self.rng).sample_iter(Alphanumeric).take(NONCE_CHARS).map(char::from).collect();
        let (login, request) = Login::begin(sasl, nonce);
        self.phase = Phase::Login(login);
        self.send_own(request, Api::SaslHandshake.ours().max, now + self.profile.open_timeout);
    }

    fn frame(&mut self, now: Duration, frame: Bytes) {
        let answered = answer::correlation(&frame);
        let is_next = self.sent.front().is_some_and(|sent| Some(sent.correlation) == answered);
        let Some(sent) = is_next.then(|| self.sent.pop_front()).flatten() else {
            let text = format!("{} answered to something that it was not asked", self.profile.broker);
            return self.close(ErrorKind::Unsuited, &text);
        };
        let too_old = sent.api == Api::ApiVersions
            && answer::versions_error(&frame).is_some_and(|code| code == codes::UNSUPPORTED_VERSION);
        if too_old {
            let text = format!("{} is older than Kafka 3.1: upgrade the brokers", self.profile.broker);
            return self.close(ErrorKind::Unsuited, &text);
        }
        let Ok(response) = answer::decode(sent.api, sent.version, frame) else {
            let text = format!("{} answered to {:?} with something that is none", self.profile.broker, sent.api);
            let error = RequestError { written: true, kind: ErrorKind::Unsuited, text: text.as_str().into() };
            self.done.extend(sent.asker.map(|token| (token, Err(error))));
            return self.close(ErrorKind::Unsuited, &text);
        };
        self.muted_until = self.muted_until.max(now + response.throttle().min(THROTTLE_MAX));
        match sent.asker {
            Some(token) => {
                self.last_used = now;
                self.answered = true;
                self.done.push_back((token, Ok(response)));
            }
            None => self.own_answer(now, response),
        }
    }

    fn own_answer(&mut self, now: Duration, response: Response) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        let step = match (phase, response, &self.profile.sasl) {
            (Phase::Versions, Response::ApiVersions(answer), _) => return self.agree(now, &answer),
            (Phase::Login(login), Response::SaslHandshake(answer), Some(sasl)) => login.named(sasl, &answer),
            (Phase::Login(login), Response::SaslAuthenticate(answer), Some(sasl)) => login.answered(sasl, &answer),
            _ => Err("answers out of order".to_owned()),
        };
        match step {
            Ok(Step::Send(login, request)) => {
                self.phase = Phase::Login(login);
                let version = Api::SaslAuthenticate.ours().max;
                self.send_own(Request::SaslAuthenticate(request), version, now + self.profile.open_timeout);
            }
            Ok(Step::In(lifetime_ms)) => {
                self.phase = Phase::Ready;
                let again = Duration::from_millis(lifetime_ms.saturating_mul(LOGIN_AGAIN_PERCENT) / 100);
                self.login_again_at = (lifetime_ms > 0).then(|| now.saturating_add(again));
            }
            Err(reason) => {
                let text = format!("{} {reason}", self.profile.broker);
                self.close(ErrorKind::Denied, &text);
            }
        }
    }

    fn agree(&mut self, now: Duration, answer: &ApiVersionsResponse) {
        if answer.error_code != codes::NONE {
            let code = codes::Code(answer.error_code);
            let text = format!("{} does not say what it speaks: {code}", self.profile.broker);
            return self.close(ErrorKind::Unsuited, &text);
        }
        let range = |api: Api| {
            let one = answer.api_keys.iter().find(|one| one.api_key == api.key())?;
            Some(Range { min: one.min_version, max: one.max_version })
        };
        let mut needed = Versions::agree(range);
        if self.profile.sasl.is_some() {
            for api in [Api::SaslHandshake, Api::SaslAuthenticate] {
                needed = needed.and_then(|versions| api.agree(range(api)).map(|_| versions));
            }
        }
        match needed {
            Ok(versions) => {
                self.versions = versions;
                self.begin_login(now);
            }
            Err(none) => {
                let ours = none.api.ours();
                let theirs = none.broker.map(|range| format!("versions {} to {} of it", range.min, range.max));
                let text = format!(
                    "{} speaks {}, and {:?} is needed in a version from {} to {}: brokers of Kafka 3.1 and newer \
                     have it",
                    self.profile.broker,
                    theirs.as_deref().unwrap_or("none of it"),
                    none.api,
                    ours.min,
                    ours.max
                );
                self.close(ErrorKind::Unsuited, &text);
            }
        }
    }

    /// It is over: nobody gets an answer any more.
    fn close(&mut self, kind: ErrorKind, text: &str) {
        let text: Arc<str> = text.into();
        self.phase = Phase::Closed;
        let error = |written| RequestError { written, kind, text: Arc::clone(&text) };
        let sent = self.sent.drain(..).filter_map(|sent| sent.asker).map(|token| (token, Err(error(true))));
        let queued = self.queue.drain(..).map(|pending| (pending.token, Err(error(false))));
        self.done.extend(sent.chain(queued));
        self.closed = Some(error(true));
    }
}
