//! Control in a run: decides on logins and refreshes, late but in order, and tells the model what that makes due.

use std::collections::VecDeque;

use halley_gateway::close::CloseReason;
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, ShardToControl};
use halley_gateway::mesh::port::{Receiver, Sender};
use halley_protocol::goim::op;
use halley_protocol::login::open::Fields;
use halley_protocol::login::{AuthRefusal, Identity};

use crate::client::Client;

pub struct Control {
    to_shard: Sender<ControlToShard>,
    from_shard: Receiver<ShardToControl>,
    /// What is asked and not answered.
    asked: VecDeque<(ConnRef, Box<[u8]>, Option<i64>)>,
    /// What found no room in the ring.
    late: VecDeque<ControlToShard>,
}

impl Control {
    pub fn new(to_shard: Sender<ControlToShard>, from_shard: Receiver<ShardToControl>) -> Control {
        Control { to_shard, from_shard, asked: VecDeque::new(), late: VecDeque::new() }
    }

    /// Hear the shard.
    pub fn hear(&mut self) {
        while let Some(report) = self.from_shard.pop() {
            match report {
                ShardToControl::Authenticate { conn, token, refresh } => self.asked.push_back((conn, token, refresh)),
                ShardToControl::Full { .. }
                | ShardToControl::Drained
                | ShardToControl::Described { .. }
                | ShardToControl::Members { .. }
                | ShardToControl::Traced { .. } => {}
            }
        }
        self.pump();
    }

    pub fn say(&mut self, message: ControlToShard) {
        self.late.push_back(message);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(message) = self.late.pop_front() {
            if let Err(message) = self.to_shard.push(message) {
                self.late.push_front(message);
                break;
            }
        }
        self.to_shard.flush();
    }

    pub fn is_quiet(&mut self) -> bool {
        self.asked.is_empty() && self.late.is_empty() && self.from_shard.is_empty()
    }

    /// Decide on the oldest question. A token of ours says in `platform` who has sent it, and under which number.
    pub fn answer(&mut self, outcome: usize, clients: &mut [Client]) {
        let Some((conn, token, refresh)) = self.asked.pop_front() else { return };
        let result = match (Fields::read(&token, false), outcome) {
            (Err(_), _) => Err(AuthRefusal::Malformed),
            (Ok(_), 9) => Err(AuthRefusal::Expired),
            (Ok(_), 10) => Err(AuthRefusal::Unavailable),
            (Ok(_), 11) => Err(AuthRefusal::Internal),
            (Ok(fields), _) if refresh.is_some_and(|mid| mid != fields.mid) => Err(AuthRefusal::OtherUser),
            (Ok(fields), _) => {
                let Fields { mid, key, room, accepts, .. } = fields;
                let key = if key.is_empty() { "made".into() } else { key };
                Ok(Box::new(Identity { mid, key, room, accepts, ..Identity::default() }))
            }
        };
        if let Err(refusal) = &result {
            let reason = match refusal {
                AuthRefusal::Unavailable => CloseReason::AuthUnavailable,
                AuthRefusal::Internal => CloseReason::InternalError,
                _ => CloseReason::AuthRefused,
            };
            let undecided = *refusal == AuthRefusal::Unavailable && refresh.is_some();
            let sender = sender(&token);
            for (number, client) in clients.iter_mut().enumerate() {
                let asked = sender.filter(|(asker, _)| *asker == number);
                if undecided && let Some((_, seq)) = asked {
                    // The login stays as it is, and nothing is said.
                    client.expected.retain(|(reply, expected, _)| (*reply, *expected) != (op::AUTH_REPLY, seq));
                } else if asked.is_some() || client.wild {
                    client.may_end.allow(reason);
                }
            }
        }
        self.say(ControlToShard::Authenticated { conn, result });
    }
}

/// Who has sent a token, and under which sequence number.
fn sender(token: &[u8]) -> Option<(usize, i32)> {
    let token: serde_json::Value = serde_json::from_slice(token).ok()?;
    let (number, seq) = token["platform"].as_str()?.split_once(' ')?;
    Some((number.parse().ok()?, seq.parse().ok()?))
}
