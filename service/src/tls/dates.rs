//! From when until when a certificate is valid, by its own word. Owns finding its two dates and reading the forms they
//! are written in. Looks at nothing else in it and never judges it: the TLS library does, with clients. `certificates`
//! keeps what is read here.

use der::asn1::AnyRef;
use der::{DateTime, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

/// Where the version of a certificate stands. Version 1 leaves it out.
const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
/// The first year of the library's calendar.
const YEAR_MIN: u16 = 1970;
/// The calendar repeats itself after so many years, which have [`CYCLE_S`] seconds.
const CYCLE_YEARS: u16 = 400;
const CYCLE_S: i64 = 146_097 * 24 * 60 * 60;
/// Cycles that bring every year before [`YEAR_MIN`] behind it.
const CYCLES: u16 = 5;

/// `notBefore` and `notAfter` of a certificate in DER (RFC 5280 §4.1), in seconds since the Unix epoch. `None` = one of
/// them cannot be found or read. What stands behind them does not count, be it in the certificate or after it.
pub(super) fn read(certificate: &[u8]) -> Option<(i64, i64)> {
    let signed = value(&mut SliceReader::new(certificate).ok()?, Tag::Sequence)?;
    let mut fields = SliceReader::new(value(&mut SliceReader::new(signed).ok()?, Tag::Sequence)?).ok()?;
    if Tag::peek(&fields).ok()? == VERSION {
        value(&mut fields, VERSION)?;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for before in [Tag::Integer, Tag::Sequence, Tag::Sequence] {
        value(&mut fields, before)?;
    }
    let mut validity = SliceReader::new(value(&mut fields, Tag::Sequence)?).ok()?;
    let mut date = || seconds(validity.decode().ok()?);
    Some((date()?, date()?))
}

/// What stands inside the next field, if it is the expected one.
fn value<'a>(fields: &mut SliceReader<'a>, expected: Tag) -> Option<&'a [u8]> {
    let field: AnyRef<'a> = fields.decode().ok()?;
    (field.tag() == expected).then(|| field.value())
}

/// Seconds since the Unix epoch. RFC 5280 §4.1.2.5 asks for seconds and `Z`. Older certificates leave the seconds out,
/// give a fraction of them, which is dropped, or an offset from UTC (X.680 §46 and §47).
fn seconds(time: AnyRef<'_>) -> Option<i64> {
    let mut text = time.value();
    let generalized = time.tag() == Tag::GeneralizedTime;
    let year = match (time.tag(), u16::from(two_digits(&mut text)?)) {
        (Tag::GeneralizedTime, century) => 100 * century + u16::from(two_digits(&mut text)?),
        (Tag::UtcTime, year @ 50..) => 1900 + year,
        (Tag::UtcTime, year) => 2000 + year,
        _ => return None,
    };
    let (month, day) = (two_digits(&mut text)?, two_digits(&mut text)?);
    let (hour, minute) = (two_digits(&mut text)?, two_digits(&mut text)?);
    let second = if text == b"Z" { 0 } else { two_digits(&mut text)? };
    let ahead_s = match text {
        [b'Z'] => 0,
        [b'.', fraction @ .., b'Z'] if generalized && fraction.iter().all(u8::is_ascii_digit) => 0,
        [b'+', offset @ ..] if !generalized => offset_s(offset)?,
        [b'-', offset @ ..] if !generalized => -offset_s(offset)?,
        _ => return None,
    };
    let cycles = if year < YEAR_MIN { CYCLES } else { 0 };
    let moved = DateTime::new(year + cycles * CYCLE_YEARS, month, day, hour, minute, second).ok()?;
    let moved_s = i64::try_from(moved.unix_duration().as_secs()).ok()?;
    Some(moved_s - i64::from(cycles) * CYCLE_S - ahead_s)
}

/// Hours and minutes between a zone and UTC, in seconds.
fn offset_s(mut text: &[u8]) -> Option<i64> {
    let (hours, minutes) = (two_digits(&mut text)?, two_digits(&mut text)?);
    let is_offset = text.is_empty() && hours < 24 && minutes < 60;
    is_offset.then(|| (i64::from(hours) * 60 + i64::from(minutes)) * 60)
}

/// The number of two digits that the text begins with; they are taken from it.
fn two_digits(text: &mut &[u8]) -> Option<u8> {
    let (&[tens, ones], rest) = text.split_first_chunk()?;
    *text = rest;
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field shorter than 128 bytes.
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short field");
        assert!(length < 128);
        [&[tag, length], content].concat()
    }

    /// The beginning of a certificate, down to its dates, each with its tag.
    fn certificate(version: Option<u8>, dates: [(u8, &str); 2]) -> Vec<u8> {
        let version = version.map(|version| field(0xa0, &field(0x02, &[version]))).unwrap_or_default();
        let validity = dates.map(|(tag, text)| field(tag, text.as_bytes())).concat();
        let serial = field(0x02, &[7]);
        let fields = [version, serial, field(0x30, &[]), field(0x30, &[]), field(0x30, &validity)].concat();
        field(0x30, &field(0x30, &fields))
    }

    fn utc_s(text: &str) -> Option<i64> {
        seconds(AnyRef::new(Tag::UtcTime, text.as_bytes()).expect("a short text"))
    }

    fn generalized_s(text: &str) -> Option<i64> {
        seconds(AnyRef::new(Tag::GeneralizedTime, text.as_bytes()).expect("a short text"))
    }

    #[test]
    fn both_forms_are_read_from_their_first_day_to_their_last() {
        assert_eq!(utc_s("500101000000Z"), Some(-631_152_000));
        assert_eq!(utc_s("491231235959Z"), Some(2_524_607_999));
        assert_eq!(generalized_s("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(generalized_s("99991231235959Z"), Some(253_402_300_799));
        assert_eq!(generalized_s("00000101000000Z"), Some(-62_167_219_200));
    }

    #[test]
    fn dates_before_1970_are_negative() {
        assert_eq!((utc_s("691231235959Z"), utc_s("700101000000Z")), (Some(-1), Some(0)));
        assert_eq!((generalized_s("19691231235959Z"), generalized_s("19700101000000Z")), (Some(-1), Some(0)));
        assert_eq!(
            generalized_s("19000301000000Z").zip(generalized_s("19000228000000Z")).map(|(a, b)| a - b),
            Some(86400)
        );
        assert_eq!(
            generalized_s("16000301000000Z").zip(generalized_s("16000229000000Z")).map(|(a, b)| a - b),
            Some(86400)
        );
    }

    #[test]
    fn what_older_certificates_write_is_read() {
        let expected = utc_s("380116130016Z");
        assert!(expected.is_some());
        for text in ["380116130016+0000", "380116143016+0130", "380116123016-0030", "380116130016-0000"] {
            assert_eq!(utc_s(text), expected, "{text}");
        }
        assert_eq!(
            (utc_s("3801161300Z"), generalized_s("203801161300Z")),
            (expected.map(|s| s - 16), utc_s("380116130000Z"))
        );
        assert_eq!(generalized_s("20380116130016.999Z"), expected);
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "Z",
            "250101000000",
            "2501010000",
            "250101000000z",
            "250101000000ZZ",
            "250101000000.5Z",
            "250001000000Z",
            "251301000000Z",
            "250100000000Z",
            "250132000000Z",
            "250229000000Z",
            "250101240000Z",
            "250101006000Z",
            "250101000060Z",
            "25010100000xZ",
            "+50101000000Z",
            "250101000000+0060",
            "250101000000+2400",
            "250101000000+00000",
            "20250101000000Z",
        ] {
            assert_eq!(utc_s(text), None, "{text}");
        }
        for text in ["20250101000000", "20250101000000+0000", "20250101000000,5Z", "19000229000000Z", "250101000000Z"] {
            assert_eq!(generalized_s(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_found_in_every_version() {
        let dates = [(0x17, "691231235959Z"), (0x18, "20500101000000Z")];
        for version in [None, Some(0), Some(1), Some(2)] {
            let mut certificate = certificate(version, dates);
            assert_eq!(read(&certificate), Some((-1, 2_524_608_000)), "{version:?}");
            certificate.push(0);
            assert_eq!(read(&certificate), Some((-1, 2_524_608_000)), "{version:?}, and a byte behind it");
        }
        let whole = certificate(Some(2), dates);
        assert!((0..whole.len()).all(|bytes| read(&whole[..bytes]).is_none()));
    }

    #[test]
    fn a_date_that_cannot_be_read_leaves_both_out() {
        let right = (0x17, "700101000000Z");
        for wrong in [(0x17, "700100000000Z"), (0x16, "700101000000Z"), (0x17, "")] {
            assert_eq!(read(&certificate(Some(2), [right, wrong])), None, "{wrong:?}");
            assert_eq!(read(&certificate(Some(2), [wrong, right])), None, "{wrong:?}");
        }
    }
}
