//! Connections of a gateway: they log in, are told that they are in, get pushes, leave or are shed. Owns what each is
//! owed: whatever was published to one of its names after it was told, while it stays, unless a gap covers it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::gateways::{Gateway, Item};
use crate::oracle::Name;
use crate::world::{Event, World};

/// Clients of one gateway at most.
const CLIENTS_MAX: usize = 8;

/// One connection.
pub struct Client {
    pub names: Vec<Name>,
    /// When it was told to be in.
    told: Option<Duration>,
    got: BTreeSet<u64>,
    /// It was ordered to go because of a gap.
    is_shed: bool,
    number: u64,
}

impl Client {
    pub fn receive(&mut self, number: u64, names: &[Name]) {
        if names.iter().any(|name| matches!(name, Name::All(_)) || self.names.contains(name)) {
            self.got.insert(number);
        }
    }

    fn wants(&self, names: &[Name]) -> bool {
        names.iter().any(|name| matches!(name, Name::All(_)) || self.names.contains(name))
    }
}

impl Gateway {
    /// The early filter counts up before the client is told, and down after its entry is gone.
    fn count(&mut self, names: &[Name], is_up: bool) {
        for name in names {
            let clients = self.names.entry(name.clone()).or_default();
            *clients = if is_up { *clients + 1 } else { *clients - 1 };
            if *clients == 0 {
                self.names.remove(name);
            }
        }
    }
}

impl World {
    /// Somebody logs in, and hears of it a little later.
    pub fn login(&mut self, gateway: usize) {
        let key = self.chance.below(8);
        let mid = i64::try_from(self.chance.below(5)).expect("few");
        let room = self.chance.below(3);
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) || !it.is_open || it.clients.len() >= CLIENTS_MAX {
            return;
        }
        let names = vec![Name::Key(format!("k{key}")), Name::Mid(mid), Name::Room(format!("live://{room}"))];
        it.count(&names, true);
        self.clients += 1;
        let (number, life) = (self.clients, it.life);
        it.clients.push(Client { names, told: None, got: BTreeSet::new(), is_shed: false, number });
        let told = self.chance.time(10, 30_000);
        self.queue.after(told, Event::ClientTold { gateway, life, client: number });
    }

    pub fn client_told(&mut self, gateway: usize, client: u64) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            return self.queue.at(until, Event::ClientTold { gateway, life, client });
        }
        if let Some(client) = it.clients.iter_mut().find(|it| it.number == client) {
            client.told = Some(now);
        }
        self.note(|| format!("client {client} of gateway {gateway} is in"));
    }

    /// Somebody leaves; up to then nothing was lost.
    pub fn leave(&mut self, gateway: usize) {
        let clients = self.gateways[gateway].clients.len();
        if clients > 0 && self.gateways[gateway].runs(self.queue.now) {
            let index = self.chance.below(clients);
            self.client_leaves(gateway, index);
        }
    }

    fn client_leaves(&mut self, gateway: usize, index: usize) {
        self.check_client(gateway, index, false);
        let it = &mut self.gateways[gateway];
        let client = it.clients.remove(index);
        it.count(&client.names, false);
    }

    /// The order to shed who is online now; they go one by one.
    pub fn shed(&mut self, gateway: usize) {
        let it = &mut self.gateways[gateway];
        let life = it.life;
        for client in it.clients.iter_mut().filter(|client| client.told.is_some() && !client.is_shed) {
            client.is_shed = true;
            let goes = self.chance.time(1_000, 3_000_000);
            self.queue.after(goes, Event::ClientShed { gateway, life, client: client.number });
        }
    }

    pub fn client_shed(&mut self, gateway: usize, client: u64) {
        let now = self.queue.now;
        let it = &self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            return self.queue.at(until, Event::ClientShed { gateway, life, client });
        }
        if let Some(index) = it.clients.iter().position(|it| it.number == client) {
            self.client_leaves(gateway, index);
        }
    }

    pub fn check_clients(&mut self, gateway: usize) {
        (0..self.gateways[gateway].clients.len()).for_each(|index| self.check_client(gateway, index, true));
    }

    /// A client has all that it is owed. Before the end that is what was read and worked off already.
    fn check_client(&mut self, gateway: usize, index: usize, is_end: bool) {
        let it = &self.gateways[gateway];
        let client = &it.clients[index];
        let Some(told) = client.told.filter(|_| is_end || !it.owes_a_gap()) else { return };
        // Where a log was cut off, what came in its place is read as far as the leader knows of it.
        if it.core.counts().truncated > 0 {
            assert!(self.oracle.is_unclean, "gateway {gateway} went back in a log that nothing was cut off from");
            return;
        }
        let mut waiting = BTreeSet::new();
        for item in &it.intake {
            if let Item::Deliver(deliveries) = item {
                waiting.extend(deliveries.iter().map(|(number, _)| *number));
            }
        }
        let positions: Vec<_> = it.core.partitions(self.queue.now).map(|view| (view.partition, view.next)).collect();
        let topic = it.topic();
        let is_passed = |number: u64| {
            let spots = &self.oracle.sent[usize::try_from(number).expect("ours")].spots;
            spots.iter().any(|spot| {
                let next = positions.iter().find(|(partition, _)| *partition == spot.partition);
                spot.topic < topic || spot.topic == topic && next.is_some_and(|(_, next)| spot.offset < *next)
            })
        };
        for (number, sent) in (0_u64..).zip(&self.oracle.sent) {
            let is_due = || is_end || is_passed(number) && !waiting.contains(&number);
            if sent.at >= told
                && client.wants(&sent.names)
                && !client.got.contains(&number)
                && self.oracle.is_owed(number, &it.memory, told)
                && is_due()
            {
                panic!(
                    "client {} of gateway {gateway}, in since {told:?}, lacks record {number} of {:?} at {:?}",
                    client.number, sent.at, sent.spots
                );
            }
        }
    }
}
