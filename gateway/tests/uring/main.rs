//! `io::uring` against the running kernel, over loopback: each trap that the kernel sets is a test of what we do about
//! it. Waiting is bounded only so that a failure ends; nothing is asserted about time.

#![allow(missing_docs)]

mod accepts;
mod closes;
mod receives;
mod rig;
mod sends;
mod steady;
mod wakes;
