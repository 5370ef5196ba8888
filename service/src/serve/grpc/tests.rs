//! What is read of a call's header, and how messages are unpacked.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::address::AddressBlock;
use crate::serve::budget::Budget;

#[test]
fn deadlines_are_read_as_callers_write_them() {
    let read = |text: &str| {
        timeout(&HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-timeout"),
            text.parse().expect("a value"),
        )]))
    };
    for (text, millis) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("250m", 250), ("99999999u", 99_999)] {
        assert_eq!(read(text).map(|time| time.as_millis()), Some(millis), "{text}");
    }
    assert_eq!(read("1000000n"), Some(Duration::from_millis(1)));
    for wrong in ["", "S", "1", "1s", "-1S", "1.5S", "999999999S", "1SS", "\u{e9}"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).expect("in memory");
    packer.finish().expect("in memory")
}

/// A message is unpacked up to its bound, takes from the budget as it grows, and one that is none is told so.
#[tokio::test(start_paused = true)]
async fn unpacking_is_bounded() {
    let share = Budget::new(1 << 20).share(AddressBlock::Local);
    let unpacked = async |packed: &[u8], bytes_max| {
        let mut held = share.hold_nothing();
        unpack(packed, bytes_max, &mut held)
            .await
            .map(|message| (message, held.bytes()))
            .map_err(|status| status.code())
    };
    let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).take(200_000).collect();
    let (message, held) = unpacked(&gzip(&text), 200_000).await.expect("within its bound");
    assert_eq!(prefix(&message), Some((false, 200_000)));
    assert!(message[PREFIX_BYTES..] == text[..] && held >= 200_000);
    assert_eq!(unpacked(&gzip(&text), 199_999).await, Err(Code::OutOfRange));
    // 64 MB of nothing are 64 KB.
    let bomb = gzip(&vec![0; 64 << 20]);
    assert_eq!(unpacked(&bomb, 1 << 18).await, Err(Code::OutOfRange));
    let others = share.try_hold(400 * 1024).expect("room");
    assert_eq!(unpacked(&bomb, 1 << 24).await, Err(Code::ResourceExhausted), "there is no room for it now");
    drop(others);
    assert_eq!(unpacked(b"no gzip at all", 1000).await, Err(Code::InvalidArgument));
    let cut = gzip(&text);
    assert_eq!(unpacked(&cut[..cut.len() / 2], 200_000).await, Err(Code::InvalidArgument));
    assert_eq!(unpacked(&gzip(b""), 10).await.map(|(message, _)| message.len()), Ok(PREFIX_BYTES));
}
