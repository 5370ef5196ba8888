//! The real program, end to end: every test starts `halley-gateway` as a process on ports of its own and speaks to it
//! as its users do. A module is named for the behaviour it proves; a test whose name begins with `c` and two digits
//! proves that the defect of that number (goim §8) is not there. `./test e2e` runs them, `./test browser` and `./test
//! readme` the two modules that need more than sockets.

mod support;

mod accepts;
mod access;
mod admin;
mod browser;
mod configuration;
mod crowd;
mod drain;
mod heartbeats;
mod identity;
mod jwt;
mod limits;
mod log;
mod login;
mod logs;
mod malformed;
mod metrics;
mod operations;
mod order;
mod process;
mod push_grpc;
mod push_http;
mod readme;
mod rooms;
mod slow;
mod steering;
mod strangers;
mod tls;
mod websocket;
