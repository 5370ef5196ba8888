//! Connections of a gateway: they log in, are told that they are in, get pushes, leave or are shed. Owns what each is
//! owed: whatever was published to one of its names after it was told, while it stays, unless a gap covers it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{Push, PushRecord, Target};

use crate::faults::Fault;
use crate::gateways::Gateway;
use crate::intake::What;
use crate::oracle::Name;
use crate::world::{Event, World};

/// Clients of one gateway at most.
const CLIENTS_MAX: usize = 8;

const KEYS: usize = 8;
const MIDS: usize = 5;
const ROOMS: usize = 3;

fn key(number: usize) -> String {
    format!("k{number}")
}

fn mid(number: usize) -> i64 {
    i64::try_from(number).expect("few")
}

fn room(number: usize) -> String {
    format!("live://{number}")
}

/// A record for each name that somebody may have.
static RECORDS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let keys = (0..KEYS).map(|number| Target::Keys(vec![key(number)]));
    let mids = (0..MIDS).map(|number| Target::Mids(vec![mid(number)]));
    let rooms = (0..ROOMS).map(|number| Target::Room(room(number)));
    let record =
        |target| PushRecord { push: Push { target, op: 1, body: Bytes::new() }, server: String::new(), receipt: 0 };
    keys.chain(mids).chain(rooms).map(|target| record(target).encode()).collect()
});

/// An early filter in which each of the names has a counter for itself, whatever its seed: two runs let the same pass.
pub fn early_filter() -> Arc<Interest> {
    loop {
        let filter = Interest::new(0);
        let passes = |filter: &Interest| RECORDS.iter().filter(|it| filter.concerns(&Look::at(it))).count();
        let mut is_right = true;
        for number in 0..KEYS {
            filter.raise_key(&key(number));
            is_right &= passes(&filter) == number + 1;
        }
        for number in 0..MIDS {
            filter.raise_mid(mid(number));
            is_right &= passes(&filter) == KEYS + number + 1;
        }
        for number in 0..ROOMS {
            filter.raise_room(&room(number));
            is_right &= passes(&filter) == KEYS + MIDS + number + 1;
        }
        (0..KEYS).for_each(|number| filter.lower_key(&key(number)));
        (0..MIDS).for_each(|number| filter.lower_mid(mid(number)));
        (0..ROOMS).for_each(|number| filter.lower_room(&room(number)));
        if is_right {
            return Arc::new(filter);
        }
    }
}

/// One connection.
pub struct Client {
    pub names: Vec<Name>,
    /// When it was told to be in.
    told: Option<Duration>,
    got: BTreeSet<u64>,
    /// It was ordered to go because of a gap.
    is_shed: bool,
    /// Its names are counted in the filter.
    is_counted: bool,
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
        let it = &self.interest;
        for name in names {
            match (name, is_up) {
                (Name::Key(key), true) => it.raise_key(key),
                (Name::Key(key), false) => it.lower_key(key),
                (Name::Mid(mid), true) => it.raise_mid(*mid),
                (Name::Mid(mid), false) => it.lower_mid(*mid),
                (Name::Room(room), true) => it.raise_room(room),
                (Name::Room(room), false) => it.lower_room(room),
                (Name::All(_), _) => {}
            }
        }
    }
}

impl World {
    /// Somebody logs in, and hears of it a little later.
    pub fn login(&mut self, gateway: usize) {
        let names = vec![
            Name::Key(key(self.chance.below(KEYS))),
            Name::Mid(mid(self.chance.below(MIDS))),
            Name::Room(room(self.chance.below(ROOMS))),
        ];
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) || !it.is_open || it.clients.len() >= CLIENTS_MAX {
            return;
        }
        if self.fault != Some(Fault::RaisedLate) {
            it.count(&names, true);
        }
        self.clients += 1;
        let (number, life) = (self.clients, it.life);
        let is_counted = self.fault != Some(Fault::RaisedLate);
        it.clients.push(Client { names, told: None, got: BTreeSet::new(), is_shed: false, is_counted, number });
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
        let Some(index) = it.clients.iter().position(|it| it.number == client) else { return };
        if self.fault == Some(Fault::RaisedLate) {
            // Told, and counted a little later.
            if it.clients[index].told.is_none() {
                it.clients[index].told = Some(now);
                let life = it.life;
                return self.queue.after(Duration::from_millis(300), Event::ClientTold { gateway, life, client });
            }
            let names = it.clients[index].names.clone();
            it.clients[index].is_counted = true;
            it.count(&names, true);
        } else {
            it.clients[index].told = Some(now);
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
        let it = &mut self.gateways[gateway];
        if self.fault == Some(Fault::LoweredFirst) && it.clients[index].is_counted {
            it.clients[index].is_counted = false;
            let names = it.clients[index].names.clone();
            it.count(&names, false);
            let (life, client) = (it.life, it.clients[index].number);
            return self.queue.after(Duration::from_millis(300), Event::ClientGone { gateway, life, client });
        }
        self.check_client(gateway, index, false);
        let it = &mut self.gateways[gateway];
        let client = it.clients.remove(index);
        if client.is_counted {
            it.count(&client.names, false);
        }
    }

    /// Somebody goes who was not counted any more.
    pub fn client_gone(&mut self, gateway: usize, client: u64) {
        if let Some(index) = self.gateways[gateway].clients.iter().position(|it| it.number == client) {
            self.client_leaves(gateway, index);
        }
    }

    /// The order to shed who is online now; they go one by one.
    pub fn shed(&mut self, gateway: usize) {
        let (sheds_newcomers, sheds_half) = (self.lacks(Fault::ShedsNewcomers), self.lacks(Fault::ShedsHalf));
        let it = &mut self.gateways[gateway];
        let life = it.life;
        let concerns = |client: &Client| (client.told.is_some() || sheds_newcomers) && !client.is_shed;
        for client in it.clients.iter_mut().filter(|client| concerns(client)) {
            if sheds_half && client.number % 2 == 0 {
                continue;
            }
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
            let told = it.clients[index].told;
            let is_right = told.is_some_and(|told| it.memory.holes.iter().any(|hole| hole.is_for(told)));
            assert!(
                is_right,
                "client {client} of gateway {gateway}, in since {told:?}, is shed and has missed nothing"
            );
            self.client_leaves(gateway, index);
        }
    }

    pub fn check_clients(&mut self, gateway: usize) {
        (0..self.gateways[gateway].clients.len()).for_each(|index| self.check_client(gateway, index, true));
    }

    /// Whoever is in has all that was acked before the drain began.
    pub fn check_drained(&self, gateway: usize) {
        let it = &self.gateways[gateway];
        assert!(
            it.intake.is_empty() || self.fault == Some(Fault::DrainsNothing),
            "gateway {gateway} leaves its intake"
        );
        if it.handing.reader.counts().truncated > 0 || it.owes_a_gap() {
            return;
        }
        for client in &it.clients {
            let Some(told) = client.told else { continue };
            for &number in &it.owed_by_drain {
                let sent = &self.oracle.sent[usize::try_from(number).expect("ours")];
                assert!(
                    sent.at < told
                        || !client.wants(&sent.names)
                        || client.got.contains(&number)
                        || !self.oracle.is_owed(number, &it.memory, told),
                    "gateway {gateway} is drained, client {}, in since {told:?}, lacks record {number} of {:?} at {:?}",
                    client.number,
                    sent.at,
                    sent.spots
                );
            }
        }
    }

    /// A client has all that it is owed. Before the end that is what was read and worked off already.
    fn check_client(&mut self, gateway: usize, index: usize, is_end: bool) {
        let it = &self.gateways[gateway];
        let client = &it.clients[index];
        let Some(told) = client.told.filter(|_| is_end || !it.owes_a_gap()) else { return };
        let is_shed = client.is_shed || !it.memory.holes.iter().any(|hole| hole.is_for(told));
        assert!(
            is_shed,
            "client {} of gateway {gateway}, in since {told:?}, missed something and stays",
            client.number
        );
        // Where a log was cut off, what came in its place is read as far as the leader knows of it.
        if it.handing.reader.counts().truncated > 0 {
            assert!(self.oracle.is_unclean, "gateway {gateway} went back in a log that nothing was cut off from");
            return;
        }
        // Behind a damaged batch there is no epoch to compare, so that what an unclean leader cut off may go unseen.
        if self.oracle.is_unclean && it.handing.reader.counts().unreadable > 0 {
            return;
        }
        let mut waiting = BTreeSet::new();
        for item in &it.intake {
            if let What::Deliver(deliveries) = &item.what {
                waiting.extend(deliveries.iter().map(|(number, _)| *number));
            }
        }
        let positions: Vec<_> =
            it.handing.reader.partitions(self.queue.now).map(|view| (view.partition, view.next)).collect();
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
