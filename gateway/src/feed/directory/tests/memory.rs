//! What a login costs: the numbers in the doc of `logins` hold.

use super::*;

/// Bytes per login at this many logins with 36-byte keys, on two shards; every `share`-th has an address of its own.
fn bytes_per_login(count: u32, mids: bool, share: u32) -> f64 {
    let mut directory = Directory::new(2, DirectoryLimits::default());
    let empty = directory.heap_bytes();
    for number in 0..count {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number / share);
        let login = Login {
            key: format!("3d7c6d1e-8a1b-4f7e-9b0a-{number:012x}").into(),
            mid: if mids { i64::from(number) + 1 } else { 0 },
            peer: Some((ip, 40_000).into()),
        };
        let shard = u16::try_from(number % 2).unwrap();
        directory.logins.insert(shard, ConnRef { slot: number / 2, generation: 1 }, &login).expect("fits");
    }
    assert_eq!(directory.logins.count(), u64::from(count));
    let bytes = f64::from(u32::try_from(directory.heap_bytes() - empty).unwrap()) / f64::from(count);
    println!("{count} logins, mids {mids}, {share} per address: {bytes:.1} bytes each");
    bytes
}

#[test]
fn a_login_with_a_mid_takes_at_most_100_bytes_and_35_for_its_address() {
    for count in [1_000_u32, 15_000, 100_000, 250_000] {
        let small = if count < 10_000 { 40.0 } else { 0.0 };
        assert!(bytes_per_login(count, true, count) <= 100.0 + small, "behind one address");
        assert!(bytes_per_login(count, true, 1) <= 135.0 + small, "each from an address of its own");
        assert!(bytes_per_login(count, false, count) <= 89.0 + small, "without a mid");
    }
}

#[test]
fn what_left_makes_room_for_what_comes() {
    let mut directory = Directory::new(1, DirectoryLimits::default());
    let mut fill = |round: u32| {
        for slot in 0..5_000 {
            let conn = ConnRef { slot, generation: round };
            let login = Login { key: format!("{round:036}-{slot:08}").into(), mid: 1 + i64::from(slot), peer: peer(1) };
            directory.logins.insert(0, conn, &login).expect("fits");
        }
        let full = directory.heap_bytes();
        for slot in 0..5_000 {
            let place = directory.logins.find(0, ConnRef { slot, generation: round }).expect("is logged in");
            directory.logins.remove(place);
        }
        full
    };
    let rounds: Vec<usize> = (0..20).map(&mut fill).collect();
    // Hash tables may double once more, as other keys fall into other parts.
    assert!(rounds[19] <= rounds[0] + rounds[0] / 5, "memory grows with every round: {rounds:?}");
}
