//! Who gets a place and who leaves for it.

use super::*;

const LIMITS: PlaceLimits = PlaceLimits { places_max: 4, per_address_max: 2, kept: 2 };

fn address(number: u32) -> AddressBlock {
    AddressBlock::V4(number)
}

#[track_caller]
fn admitted(places: &Places, number: u32) -> Place {
    match places.admit(address(number), Instant::now()) {
        Admission::Admitted(place) | Admission::Displacing(place) => {
            place.enter(Phase::Idle);
            place
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn kept(places: &Places, number: u32) -> Place {
    match places.admit(address(number), Instant::now()) {
        Admission::Kept(place) if place.is_kept() => place,
        other => panic!("{other:?}"),
    }
}

/// All places, each of another address, whose connections wait for us.
fn all_busy(places: &Places) -> Vec<Place> {
    let busy: Vec<Place> = (0..4).map(|number| admitted(places, number)).collect();
    busy.iter().for_each(|place| place.enter(Phase::Work));
    busy
}

async fn pass(duration: Duration) {
    tokio::time::advance(duration).await;
}

/// The longest idle leaves, wherever it comes from, and whoever asks again is no longer the longest.
#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_longest_idle_first() {
    let places = Places::new(LIMITS);
    let old: Vec<Place> = (0..4).map(|number| admitted(&places, number)).collect();
    old[0].enter(Phase::Work);
    old[0].enter(Phase::Idle);
    let _fifth = admitted(&places, 9);
    assert_eq!(old.iter().map(Place::is_evicted).collect::<Vec<_>>(), [false, true, false, false]);
    let _sixth = admitted(&places, 9);
    assert_eq!(old.iter().map(Place::is_evicted).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(places.evicted(Phase::Idle), 2);
    tokio::time::timeout(Duration::from_secs(1), old[1].evicted()).await.expect("it is told");
}

/// Whoever has just come is spared while his request may be on its way; whoever goes on to say nothing leaves before
/// the idle.
#[tokio::test(start_paused = true)]
async fn newcomers_have_a_moment_and_then_leave_first() {
    let places = Places::new(LIMITS);
    let idle: Vec<Place> = (0..2).map(|number| admitted(&places, number)).collect();
    let new: Vec<Place> = (2..4)
        .map(|number| match places.admit(address(number), Instant::now()) {
            Admission::Admitted(place) => place,
            other => panic!("{other:?}"),
        })
        .collect();
    let _first = admitted(&places, 5);
    assert!(idle[0].is_evicted() && !new[0].is_evicted());
    pass(NEW_GRACE).await;
    let _second = admitted(&places, 6);
    assert!(new[0].is_evicted() && !idle[1].is_evicted());
    assert_eq!(places.evicted(Phase::New), 1);
}

/// An address that has its share makes room among its own, though places are free.
#[tokio::test(start_paused = true)]
async fn one_address_holds_its_share_and_no_more() {
    let places = Places::new(LIMITS);
    let other = admitted(&places, 2);
    let (first, second) = (admitted(&places, 1), admitted(&places, 1));
    let third = admitted(&places, 1);
    assert_eq!([&other, &first, &second, &third].map(Place::is_evicted), [false, true, false, false]);
    // All its own wait for us: nobody else leaves for it.
    second.enter(Phase::Work);
    third.enter(Phase::Work);
    let health = kept(&places, 1);
    assert!(!other.is_evicted());
    assert_eq!(places.turned_away(), (1, 0));
    drop((second, health));
    let _again = admitted(&places, 1);
}

/// Who is slow has its time, and leaves after it: in the order of the phases, and within one the oldest first.
#[tokio::test(start_paused = true)]
async fn slow_ones_leave_after_their_time() {
    let places = Places::new(LIMITS);
    let all: Vec<Place> = (0..4).map(|number| admitted(&places, number)).collect();
    for (place, phase) in all.iter().zip([Phase::Body, Phase::Answer, Phase::Head, Phase::Head]) {
        place.enter(phase);
    }
    drop(kept(&places, 9));
    assert_eq!(places.turned_away(), (0, 1));
    pass(GRACE).await;
    let mut busy = Vec::new();
    for (number, expected) in (10..).zip([2, 3, 1, 0]) {
        assert!(!all[expected].is_evicted());
        busy.push(admitted(&places, number));
        busy.last().expect("just pushed").enter(Phase::Work);
        assert!(all[expected].is_evicted(), "{expected}");
    }
    drop(kept(&places, 20));
    assert_eq!(Phase::ALL.map(|phase| places.evicted(phase)), [0, 0, 0, 2, 1, 1, 0]);
}

/// Those who are always new in what they do take turns with others all the same, when their address holds most of the
/// places.
#[tokio::test(start_paused = true)]
async fn the_address_that_holds_most_makes_room_for_one_that_holds_few() {
    let limits = PlaceLimits { places_max: 8, per_address_max: 6, kept: 0 };
    let places = Places::new(limits);
    let many: Vec<Place> = (0..6).map(|_| admitted(&places, 1)).collect();
    let few: Vec<Place> = (0..2).map(|_| admitted(&places, 2)).collect();
    many.iter().chain(&few).for_each(|place| place.enter(Phase::Head));
    let first = admitted(&places, 3);
    assert!(many[0].is_evicted() && !many[1].is_evicted());
    first.enter(Phase::Head);
    let second = admitted(&places, 3);
    second.enter(Phase::Head);
    assert!(many[1].is_evicted());
    // Four against two: that is no reason any more.
    assert!(matches!(places.admit(address(3), Instant::now()), Admission::Full));
    assert!(!few[0].is_evicted() && !few[1].is_evicted());
}

/// Kept places are for a moment: whoever does not use his makes room, and nobody else gets more of them.
#[tokio::test(start_paused = true)]
async fn kept_places_go_round() {
    let places = Places::new(LIMITS);
    let busy = all_busy(&places);
    let (first, second) = (kept(&places, 1), kept(&places, 3));
    first.enter(Phase::Head);
    assert!(matches!(places.admit(address(2), Instant::now()), Admission::Full), "they have a moment");
    pass(NEW_GRACE).await;
    let third = kept(&places, 2);
    assert_eq!([&first, &second, &third].map(Place::is_evicted), [true, false, false], "who came first");
    second.enter(Phase::Work);
    third.enter(Phase::Work);
    assert!(matches!(places.admit(address(7), Instant::now()), Admission::Full));
    drop(first);
    assert!(matches!(places.admit(address(7), Instant::now()), Admission::Full), "it held no place any more");
    places.freed().await;
    let freed = places.freed();
    drop(second);
    tokio::time::timeout(Duration::from_secs(1), freed).await.expect("a place is free");
    drop(kept(&places, 7));
    drop(busy);
    drop(admitted(&places, 7));
}

/// One address holds a quarter of the kept places, and makes room in that quarter only.
#[tokio::test(start_paused = true)]
async fn one_address_holds_some_kept_places_only() {
    let places = Places::new(PlaceLimits { kept: 8, ..LIMITS });
    let _busy = all_busy(&places);
    let (other, flood) = (kept(&places, 5), [(); 6].map(|()| kept(&places, 6)));
    pass(NEW_GRACE).await;
    let seventh = kept(&places, 6);
    assert_eq!([&flood[3], &flood[4], &flood[5], &seventh].map(Place::is_evicted), [true, true, false, false]);
    assert!(!other.is_evicted());
    seventh.enter(Phase::Work);
    flood[5].enter(Phase::Work);
    assert!(matches!(places.admit(address(6), Instant::now()), Admission::Refused));
    drop(kept(&places, 7));
}

/// Whoever waits for a place is woken when one of those who were busy becomes idle, not only when one leaves.
#[tokio::test(start_paused = true)]
async fn an_end_of_work_wakes_who_waits() {
    let places = Places::new(PlaceLimits { kept: 0, ..LIMITS });
    let busy = all_busy(&places);
    assert!(matches!(places.admit(address(9), Instant::now()), Admission::Full));
    let freed = places.freed();
    busy[2].enter(Phase::Idle);
    tokio::time::timeout(Duration::from_secs(1), freed).await.expect("somebody may leave");
    drop(admitted(&places, 9));
    assert!(busy[2].is_evicted());
}

/// Whose own address holds too much ends one of its own, and nobody else's; for want of anything that all share the
/// address that holds most goes first. Nobody ends himself, nor who is within his time.
#[tokio::test(start_paused = true)]
async fn who_stalls_leaves_for_those_who_call() {
    let places = Places::new(PlaceLimits { places_max: 8, per_address_max: 4, kept: 0 });
    let other = admitted(&places, 1);
    let many: Vec<Place> = (0..3).map(|_| admitted(&places, 2)).collect();
    many.iter().chain([&other]).for_each(|place| place.enter(Phase::Body));
    let calls = admitted(&places, 3);
    calls.enter(Phase::Work);
    calls.end_one_that_stalls(false);
    assert!(!many[0].is_evicted(), "within its time");
    pass(GRACE).await;
    calls.end_one_that_stalls(true);
    assert!(!many[0].is_evicted() && !other.is_evicted(), "its own address has none");
    other.end_one_that_stalls(true);
    assert!(!other.is_evicted());
    calls.end_one_that_stalls(false);
    assert!(many[0].is_evicted() && !many[1].is_evicted() && !other.is_evicted());
    many[1].end_one_that_stalls(true);
    assert!(many[2].is_evicted() && !many[1].is_evicted());
}

/// Those who must leave hold their descriptors for a moment; beyond so many they leave at once.
#[tokio::test(start_paused = true)]
async fn few_have_last_words() {
    let places = Places::new(PlaceLimits { places_max: 1, per_address_max: 1, kept: 0 });
    let mut old: Vec<Place> = (0..=LAST_WORDS_MAX + 1).map(|_| admitted(&places, 1)).collect();
    let last_but_one = old.len() - 2;
    assert!(old[last_but_one].is_evicted() && !old[last_but_one].may_have_last_words());
    assert!(old[..last_but_one].iter().all(Place::may_have_last_words));
    old.drain(..10);
    let next = admitted(&places, 1);
    assert!(old.last().is_some_and(|place| place.is_evicted() && place.may_have_last_words()));
    drop((old, next));
}

/// Whoever has his share, all of it busy, is refused at once: nobody is to wait behind him.
#[tokio::test(start_paused = true)]
async fn a_full_address_keeps_nobody_waiting() {
    let places = Places::new(PlaceLimits { kept: 0, ..LIMITS });
    let busy = (admitted(&places, 1), admitted(&places, 1));
    busy.0.enter(Phase::Work);
    busy.1.enter(Phase::Work);
    assert!(matches!(places.admit(address(1), Instant::now()), Admission::Refused));
    let others = (admitted(&places, 2), admitted(&places, 2));
    others.0.enter(Phase::Work);
    others.1.enter(Phase::Work);
    assert!(matches!(places.admit(address(3), Instant::now()), Admission::Full));
    assert_eq!(places.turned_away(), (1, 0));
}

/// Want of something else than places ends the first in the order, however young.
#[tokio::test(start_paused = true)]
async fn room_is_made_on_demand() {
    let places = Places::new(LIMITS);
    let (head, idle) = (admitted(&places, 1), admitted(&places, 2));
    head.enter(Phase::Head);
    assert!(places.make_room() && idle.is_evicted() && !head.is_evicted());
    assert!(places.make_room() && head.is_evicted());
    assert!(!places.make_room());
}

/// After any sequence of comings, phases and goings the books are right: nothing is left when all are gone.
#[test]
fn the_books_are_right_after_any_sequence() {
    use proptest::prelude::*;
    let act = (0..4_u8, 0..7_usize, 0..5_u32, 0..8_usize);
    proptest!(|(acts in prop::collection::vec(act, 0..200))| {
        let places = Places::new(LIMITS);
        let mut live: Vec<Place> = Vec::new();
        for (what, phase, number, which) in acts {
            match what {
                0 | 1 => match places.admit(address(number), Instant::now()) {
                    Admission::Admitted(place) | Admission::Displacing(place) | Admission::Kept(place) => {
                        live.push(place);
                    }
                    Admission::Refused | Admission::Full => {}
                },
                2 if !live.is_empty() => live[which % live.len()].enter(Phase::ALL[phase]),
                3 if !live.is_empty() => drop(live.swap_remove(which % live.len())),
                _ => {}
            }
            let table = places.table();
            let staying = |kept: bool| table.entries.iter().filter(|(_, e)| e.kept == kept && !e.leaving).count();
            prop_assert_eq!((table.used, table.kept.len()), (staying(false), staying(true)));
            prop_assert_eq!(table.leaving, table.entries.iter().filter(|(_, e)| e.leaving).count());
            prop_assert!(table.used <= LIMITS.places_max && table.kept.len() <= LIMITS.kept);
            prop_assert!(table.addresses.values().all(|own| (1..=LIMITS.per_address_max).contains(&own.used)));
            let may_leave = table.entries.iter().filter(|(_, e)| !e.kept && !e.leaving && e.turn.0 != Phase::Work);
            prop_assert_eq!(table.order.len(), may_leave.count());
            prop_assert_eq!(table.addresses.values().map(|own| own.order.len()).sum::<usize>(), table.order.len());
        }
        drop(live);
        let table = places.table();
        prop_assert!(table.entries.is_empty() && table.order.is_empty() && table.addresses.is_empty());
        prop_assert_eq!((table.used, table.kept.len()), (0, 0));
    });
}
