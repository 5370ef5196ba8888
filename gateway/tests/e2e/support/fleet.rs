//! Thousands of goim clients in one thread over one epoll: connected from several loopback addresses, logged in with
//! keys, users and rooms, each remembering every pushed body in the order it came.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Frame, TcpClient, op};

/// How long the whole fleet may take for one step before the test fails.
const STEP: Duration = Duration::from_secs(120);

/// The clients.
pub struct Fleet {
    epoll: std::os::fd::OwnedFd,
    members: Vec<Member>,
    ready: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

/// One of them.
struct Member {
    stream: TcpStream,
    partial: Vec<u8>,
    logged_in: bool,
    pushes: Vec<Vec<u8>>,
}

impl Fleet {
    /// Raises the limit of open files so that `count` sockets fit, or says what to set.
    pub fn make_room(count: u64) {
        let limit = getrlimit(Resource::Nofile);
        let need = count + 512;
        if limit.current.is_some_and(|now| now < need) {
            let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
            let fits = limit.maximum.is_none_or(|most| most >= need);
            assert!(raised.is_ok() && fits, "this test needs {need} open files: set `ulimit -n {need}`");
        }
    }

    pub fn new() -> Fleet {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        Fleet { epoll, members: Vec::new(), ready: Vec::with_capacity(1024), scratch: vec![0; 256 * 1024] }
    }

    /// Connects one more client from 127.0.0.(2 + its number modulo 8) and sends its token.
    pub fn join(&mut self, to: SocketAddr, token: &str) {
        let number = self.members.len();
        let last = u8::try_from(2 + number % 8).expect("below 10");
        let mut stream = TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, last), to).stream;
        stream.write_all(&Frame::new(op::AUTH, 1, token).encode()).expect("an empty socket takes a token");
        stream.set_nonblocking(true).expect("nonblocking");
        let data = epoll::EventData::new_u64(u64::try_from(number).expect("a small number"));
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).expect("epoll takes a socket");
        self.members.push(Member { stream, partial: Vec::new(), logged_in: false, pushes: Vec::new() });
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Reads until every client is logged in.
    pub fn wait_logged_in(&mut self) {
        self.read_until("every client is logged in", |members| members.iter().all(|member| member.logged_in));
    }

    /// Reads until every client has the number of pushes that `expected` tells for it.
    pub fn wait_pushes(&mut self, expected: impl Fn(usize) -> usize) {
        self.read_until("every client has its pushes", |members| {
            members.iter().enumerate().all(|(number, member)| member.pushes.len() >= expected(number))
        });
    }

    /// The bodies a client got so far, in order; they are taken away.
    pub fn take(&mut self, number: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.members[number].pushes)
    }

    fn read_until(&mut self, what: &str, done: impl Fn(&[Member]) -> bool) {
        let deadline = Instant::now() + STEP;
        while !done(&self.members) {
            assert!(Instant::now() < deadline, "did not happen within {STEP:?}: {what}");
            self.ready.clear();
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&wait)).expect("epoll waits");
            for event in self.ready.drain(..) {
                let number = usize::try_from(event.data.u64()).expect("the number it was added with");
                self.members[number].read(&mut self.scratch);
            }
        }
    }
}

impl Member {
    fn read(&mut self, scratch: &mut [u8]) {
        match self.stream.read(scratch) {
            Ok(0) => panic!("the gateway closed a connection of the fleet"),
            Ok(got) => self.partial.extend_from_slice(&scratch[..got]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("a connection of the fleet failed: {error}"),
        }
        let mut at = 0;
        while let Some((frame, used)) = Frame::decode(&self.partial[at..]) {
            at += used;
            if self.logged_in {
                self.pushes.push(frame.body);
            } else {
                assert_eq!(frame, Frame::new(op::AUTH_REPLY, 1, ""), "nothing comes before the auth reply");
                self.logged_in = true;
            }
        }
        self.partial.drain(..at);
        self.partial.shrink_to_fit();
    }
}
