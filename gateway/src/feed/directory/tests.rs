//! The directory against naive models: every answer it gives is compared with a plain list after every step.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{Push, PushRecord, Target};
use proptest::prelude::*;

use super::*;
use crate::mesh::msg::{ConnRef, RoomRef};

const SHARDS: u16 = 3;

mod memory;

#[derive(Clone, Debug)]
struct Known {
    shard: u16,
    conn: ConnRef,
    key: String,
    mid: i64,
    peer: Option<SocketAddr>,
}

/// Logins in the order of their coming.
#[derive(Default)]
struct Model {
    logins: Vec<Known>,
}

impl Model {
    fn forget(&mut self, shard: u16, conn: ConnRef) {
        self.logins.retain(|known| (known.shard, known.conn) != (shard, conn));
    }

    fn of(&self, is: impl Fn(&Known) -> bool) -> Vec<(u16, ConnRef)> {
        self.logins.iter().filter(|known| is(known)).map(|known| (known.shard, known.conn)).collect()
    }

    fn of_key(&self, key: &str) -> Vec<(u16, ConnRef)> {
        self.of(|known| known.key == key)
    }

    fn of_mid(&self, mid: i64) -> Vec<(u16, ConnRef)> {
        self.of(|known| known.mid == mid && mid > 0)
    }

    /// What the limits ask for, by the same rules told differently: who must go, or why it is refused.
    fn admission(&self, key: &str, mid: i64, limits: &DirectoryLimits) -> Option<Result<(u16, ConnRef), CloseReason>> {
        let of_key = self.of_key(key);
        let of_mid = self.of_mid(mid);
        let key_full = of_key.len() >= limits.per_key_max.max(1) as usize;
        let mid_full = limits.per_mid_max > 0 && of_mid.len() >= limits.per_mid_max as usize;
        let displaces_own = of_key.first().is_some_and(|oldest| of_mid.contains(oldest));
        if key_full && limits.per_key_policy == LimitPolicy::RejectNew {
            return Some(Err(CloseReason::KeyLimit));
        }
        if mid_full && limits.per_mid_policy == LimitPolicy::RejectNew && !(key_full && displaces_own) {
            return Some(Err(CloseReason::UserLimit));
        }
        if key_full {
            return Some(Ok(of_key[0]));
        }
        mid_full.then(|| Ok(of_mid[0]))
    }
}

fn key(number: u8) -> String {
    // Different lengths, so that different cells are used and freed.
    format!("key-{}", "x".repeat(usize::from(number) * 7))
}

fn peer(number: u8) -> Option<SocketAddr> {
    match number {
        0 => None,
        1 => Some("192.0.2.1:1000".parse().unwrap()),
        2 => Some("192.0.2.1:2000".parse().unwrap()),
        _ => Some("[2001:db8::7]:3000".parse().unwrap()),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register {
        shard: u16,
        slot: u32,
        key: u8,
        mid: i64,
        peer: u8,
    },
    /// The login at this position of the list leaves, or one that left before does so again.
    Gone {
        pick: usize,
        late: bool,
    },
    Limits(DirectoryLimits),
}

fn policy() -> impl Strategy<Value = LimitPolicy> {
    prop_oneof![Just(LimitPolicy::CloseOldest), Just(LimitPolicy::RejectNew)]
}

fn step() -> impl Strategy<Value = Step> {
    let register = (0..SHARDS, prop_oneof![0u32..6, 500u32..504], 0u8..5, -1i64..4, 0u8..4)
        .prop_map(|(shard, slot, key, mid, peer)| Step::Register { shard, slot, key, mid, peer });
    let gone = (any::<usize>(), any::<bool>()).prop_map(|(pick, late)| Step::Gone { pick, late });
    let limits = (0u32..4, policy(), 0u32..4, policy()).prop_map(
        |(per_key_max, per_key_policy, per_mid_max, per_mid_policy)| {
            Step::Limits(DirectoryLimits { per_key_max, per_key_policy, per_mid_max, per_mid_policy })
        },
    );
    prop_oneof![6 => register, 3 => gone, 1 => limits]
}

fn conns(logins: &Logins, chain: Chain<'_>) -> Vec<(u16, ConnRef)> {
    chain.map(|place| logins.conn(place)).collect()
}

fn compare(directory: &Directory, model: &Model, gone: &[(u16, ConnRef)]) {
    let logins = &directory.logins;
    for number in 0..5 {
        let key = key(number);
        assert_eq!(conns(logins, logins.of_key(&key)), model.of_key(&key));
        assert_eq!(conns(logins, logins.select(&Select::Key(key.clone()))), model.of_key(&key));
    }
    for mid in -1..4 {
        assert_eq!(conns(logins, logins.of_mid(mid)), model.of_mid(mid));
    }
    for known in &model.logins {
        let place = logins.find(known.shard, known.conn).expect("is logged in");
        let entry = logins.describe(place);
        assert_eq!((entry.shard, entry.conn, entry.mid), (known.shard, known.conn, known.mid));
        assert_eq!((entry.key, entry.peer), (known.key.clone(), known.peer));
        assert!(logins.is_meant(place, &Select::Key(known.key.clone())));
        assert_eq!(logins.is_meant(place, &Select::Mid(known.mid)), known.mid > 0);
    }
    for &(shard, conn) in gone {
        assert_eq!(logins.find(shard, conn), None, "an old generation was found");
    }
    let distinct = |mut values: Vec<String>| {
        values.sort();
        values.dedup();
        values.len() as u64
    };
    assert_eq!(logins.count(), model.logins.len() as u64);
    assert_eq!(logins.keys(), distinct(model.logins.iter().map(|known| known.key.clone()).collect()));
    let mids = model.logins.iter().filter(|known| known.mid > 0);
    assert_eq!(logins.mids(), distinct(mids.map(|known| known.mid.to_string()).collect()));
    let addresses = model.logins.iter().filter_map(|known| known.peer);
    assert_eq!(logins.addresses(), distinct(addresses.map(|peer| peer.ip().to_string()).collect()));
    for (shard, &count) in (0..).zip(logins.per_shard()) {
        assert_eq!(count as usize, model.of(|known| known.shard == shard).len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Logins, re-logins, departures (also late ones) and changing limits in any order leave what a plain list would
    /// hold.
    #[test]
    fn logins_agree_with_a_plain_list(steps in proptest::collection::vec(step(), 1..60)) {
        let mut directory = Directory::new(SHARDS, DirectoryLimits::default());
        let interest = Arc::new(Interest::new(64));
        directory.tell(&interest);
        let mut model = Model::default();
        let mut gone: Vec<(u16, ConnRef)> = Vec::new();
        for (generation, step) in (0..).zip(steps) {
            match step {
                Step::Register { shard, slot, key: number, mid, peer: from } => {
                    let login = Login { key: key(number).into(), mid, peer: peer(from) };
                    let conn = ConnRef { slot, generation };
                    if let Some(place) = directory.logins.at_slot(shard, slot) {
                        let (_, old) = directory.logins.conn(place);
                        model.forget(shard, old);
                        gone.push((shard, old));
                        directory.logins.remove(place);
                    }
                    loop {
                        let expected = model.admission(&login.key, mid, &directory.limits);
                        match directory.admission(&login) {
                            Admission::Admit => {
                                prop_assert_eq!(expected, None);
                                directory.logins.insert(shard, conn, &login);
                                let key = login.key.into();
                                model.logins.push(Known { shard, conn, key, mid, peer: login.peer });
                                break;
                            }
                            Admission::Refuse(reason) => {
                                prop_assert_eq!(expected, Some(Err(reason)));
                                break;
                            }
                            Admission::Evict(place, reason) => {
                                let victim = directory.logins.conn(place);
                                prop_assert_eq!(expected, Some(Ok(victim)));
                                let same_key = model.of_key(&login.key).contains(&victim);
                                prop_assert!(same_key || reason == CloseReason::UserLimit);
                                directory.logins.remove(place);
                                model.forget(victim.0, victim.1);
                                gone.push(victim);
                            }
                        }
                    }
                }
                Step::Gone { pick, late: false } if !model.logins.is_empty() => {
                    let known = &model.logins[pick % model.logins.len()];
                    let (shard, conn) = (known.shard, known.conn);
                    let place = directory.logins.find(shard, conn);
                    directory.logins.remove(place.expect("is logged in"));
                    model.forget(shard, conn);
                    gone.push((shard, conn));
                }
                Step::Gone { pick, .. } if !gone.is_empty() => {
                    let (shard, conn) = gone[pick % gone.len()];
                    prop_assert_eq!(directory.logins.find(shard, conn), None);
                }
                Step::Gone { .. } => {}
                Step::Limits(limits) => directory.limits = limits,
            }
            compare(&directory, &model, &gone);
            for known in &model.logins {
                prop_assert!(concerns(&interest, Target::Keys(vec![known.key.clone()])));
                prop_assert!(known.mid <= 0 || concerns(&interest, Target::Mids(vec![known.mid])));
            }
        }
        remove_all(&mut directory, &model);
        let all = (0..5).map(|number| Target::Keys(vec![key(number)])).chain((0..4).map(|mid| Target::Mids(vec![mid])));
        prop_assert!(all.into_iter().all(|target| !concerns(&interest, target)), "nobody is left");
    }
}

fn remove_all(directory: &mut Directory, model: &Model) {
    for known in &model.logins {
        let place = directory.logins.find(known.shard, known.conn).expect("is logged in");
        directory.logins.remove(place);
    }
}

/// Whether a record for these passes the early filter.
fn concerns(interest: &Interest, target: Target) -> bool {
    let push = Push { target, op: 5, body: bytes::Bytes::new() };
    interest.concerns(&Look::at(&PushRecord { push, server: String::new(), receipt: 0 }.encode()))
}

#[derive(Clone, Debug)]
enum RoomStep {
    Open {
        shard: u16,
        slot: u32,
        name: u8,
        members: u32,
    },
    Update {
        pick: usize,
        members: u32,
    },
    Leave {
        pick: usize,
    },
    /// A shard is told, or its ring is full for now.
    Tell {
        full: bool,
    },
}

fn room_step() -> impl Strategy<Value = RoomStep> {
    prop_oneof![
        3 => (0..SHARDS, 0u32..300, 0u8..4, 0u32..3)
            .prop_map(|(shard, slot, name, members)| RoomStep::Open { shard, slot, name, members }),
        3 => (any::<usize>(), 0u32..5).prop_map(|(pick, members)| RoomStep::Update { pick, members }),
        2 => any::<usize>().prop_map(|pick| RoomStep::Leave { pick }),
        3 => any::<bool>().prop_map(|full| RoomStep::Tell { full }),
    ]
}

/// (shard, slot) to generation, name, members, and the count of others the shard knows.
type RoomModel = BTreeMap<(u16, u32), (u32, String, u32, u32)>;

fn others(model: &RoomModel, at: (u16, u32)) -> u32 {
    let name = &model[&at].1;
    model.iter().filter(|(other, room)| **other != at && room.1 == *name).map(|(_, room)| room.2).sum()
}

fn compare_rooms(rooms: &Rooms, model: &RoomModel) {
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, name, members, _) in model.values() {
        *sums.entry(name).or_default() += members;
    }
    for name in sums.keys() {
        let mut found: Vec<_> = rooms.find(name).map(|at| (at.shard, at.room, at.members)).collect();
        found.sort_by_key(|&(shard, room, _)| (shard, room.slot));
        let expected = model.iter().filter(|(_, room)| room.1 == **name);
        let expected: Vec<_> = expected
            .map(|(&(shard, slot), &(generation, _, members, _))| (shard, RoomRef { slot, generation }, members))
            .collect();
        assert_eq!(found, expected);
    }
    let peopled: Vec<(String, u32)> =
        sums.iter().filter(|(_, sum)| **sum > 0).map(|(name, sum)| ((*name).to_owned(), *sum)).collect();
    let mut listed = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        next = rooms.list(from, 3, &mut listed);
    }
    listed.sort();
    assert_eq!(listed, peopled);
    assert_eq!((rooms.opened(), rooms.peopled()), (sums.len() as u64, peopled.len() as u64));
    assert_eq!(rooms.find("no such room").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Rooms opened, counted and closed in any order: who has which is right at every step, and once every ring has
    /// room, every shard knows the members of all others.
    #[test]
    fn rooms_agree_with_a_plain_table(steps in proptest::collection::vec(room_step(), 1..80)) {
        let mut rooms = Rooms::new(SHARDS);
        let interest = Arc::new(Interest::new(64));
        rooms.interest = Some(Arc::clone(&interest));
        let mut model = RoomModel::new();
        for (generation, step) in (0..).zip(steps) {
            let picked = |pick: usize| model.keys().nth(pick % model.len().max(1)).copied();
            match step {
                RoomStep::Open { shard, slot, name, members } => {
                    let name = format!("test://{name}");
                    // A shard opens a room once.
                    if !model.iter().any(|(at, room)| at.0 == shard && at.1 != slot && room.1 == name) {
                        let told = rooms.open(shard, RoomRef { slot, generation }, &name, members);
                        model.insert((shard, slot), (generation, name, members, told));
                        prop_assert_eq!(told, others(&model, (shard, slot)));
                    }
                }
                RoomStep::Update { pick, members } => {
                    if let Some((shard, slot)) = picked(pick) {
                        let room = model.get_mut(&(shard, slot)).unwrap();
                        rooms.update(shard, RoomRef { slot, generation: room.0 }, members);
                        rooms.update(shard, RoomRef { slot, generation: room.0.wrapping_sub(1) }, 99);
                        room.2 = members;
                    }
                }
                RoomStep::Leave { pick } => {
                    if let Some((shard, slot)) = picked(pick) {
                        let room = model.remove(&(shard, slot)).unwrap();
                        rooms.leave(shard, RoomRef { slot, generation: room.0 });
                        rooms.leave(shard, RoomRef { slot, generation: room.0 });
                    }
                }
                RoomStep::Tell { full } => match rooms.stale() {
                    Some(_) if full => rooms.postpone(),
                    Some(count) => {
                        rooms.told(&count);
                        model.get_mut(&(count.shard, count.room.slot)).unwrap().3 = count.others;
                        prop_assert_eq!(count.others, others(&model, (count.shard, count.room.slot)));
                    }
                    None => {}
                },
            }
            compare_rooms(&rooms, &model);
            for (_, name, ..) in model.values() {
                prop_assert!(concerns(&interest, Target::Room(name.clone())));
            }
        }
        while let Some(count) = rooms.stale() {
            rooms.told(&count);
            model.get_mut(&(count.shard, count.room.slot)).unwrap().3 = count.others;
        }
        for (&at, room) in &model {
            prop_assert_eq!(room.3, others(&model, at), "the shard of {:?} does not know", at);
        }
        for (&(shard, slot), &(generation, ..)) in &model {
            rooms.leave(shard, RoomRef { slot, generation });
        }
        let left = (0..4).any(|name| concerns(&interest, Target::Room(format!("test://{name}"))));
        prop_assert!(!left, "nobody is left");
    }
}

#[test]
fn many_changes_of_a_room_are_told_once() {
    let mut rooms = Rooms::new(2);
    let here = RoomRef { slot: 0, generation: 0 };
    rooms.open(0, here, "live://1", 0);
    rooms.open(1, here, "live://1", 0);
    for members in 1..=1_000 {
        rooms.update(0, here, members);
    }
    let count = rooms.stale().expect("shard 1 has to be told");
    assert_eq!(count, StaleCount { shard: 1, room: here, others: 1_000 });
    rooms.told(&count);
    assert_eq!(rooms.stale(), None);
    rooms.update(0, here, 999);
    rooms.update(0, here, 1_000);
    assert_eq!(rooms.stale(), None, "what is as told needs no telling");
}

#[test]
fn a_key_no_shard_would_let_through_is_not_stored() {
    let mut directory = Directory::new(1, DirectoryLimits::default());
    let login = Login { key: "k".repeat(70_000).into(), mid: 1, peer: peer(1) };
    assert_eq!(directory.logins.insert(0, ConnRef { slot: 0, generation: 0 }, &login), None);
    assert_eq!((directory.logins.count(), directory.logins.mids(), directory.logins.addresses()), (0, 0, 0));
}
