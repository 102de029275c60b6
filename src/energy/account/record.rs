//! A record as a line of text, with a checksum in front:
//!
//! ```text
//! 06c4736c c 2026-11-25 1000 wattlm-demo:q4_0 3 120 80 45 0 2100000 10200000 0
//! a2e1614b d 2026-11-25 20000000 7000000 400000 0
//! ```
//!
//! `c` is a client's line: period, uid (`*`: those for whom there was no line left), model, requests, prompt tokens, of
//! these cached, completion tokens, then microjoules: wake, prefill, decode, of these estimated. `d` is the device's:
//! microjoules metered, of these idle, others', estimated. The checksum is the CRC-32 of zlib over what follows the
//! space after it. A line that begins with `#` is a remark.
//!
//! Pure. What always holds: no bytes make the reader panic, and a line that is cut anywhere or differs in a byte is no
//! record.

use std::fmt::Write;

use super::book::{DeviceLine, Entry, Record};

/// Longest line, in bytes: twice what the longest name and the largest numbers take.
const MAX_LINE: usize = 2048;

/// Writes a record and the line's end.
pub(super) fn write(record: &Record, out: &mut String) {
    let mut body = String::with_capacity(128);
    let numbers: &[u64] = match record {
        Record::Client(period, (uid, model), entry) => {
            let uid = uid.map_or("*".to_owned(), |uid| uid.to_string());
            let _ = write!(body, "c {period} {uid} {}", escape(model));
            &entry.numbers()
        }
        Record::Device(period, line) => {
            let _ = write!(body, "d {period}");
            &line.numbers()
        }
    };
    for n in numbers {
        let _ = write!(body, " {n}");
    }
    let _ = writeln!(out, "{:08x} {body}", crc32(body.as_bytes()));
}

/// Reads a line without its end. `None` where it is no record.
pub(super) fn read(line: &[u8]) -> Option<Record> {
    let line = std::str::from_utf8(line).ok().filter(|l| l.len() <= MAX_LINE)?;
    let (sum, body) = line.split_once(' ')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16).ok()? != crc32(body.as_bytes()) {
        return None;
    }
    let mut words = body.split(' ');
    let record = match words.next()? {
        "c" => {
            let period = words.next()?.parse().ok()?;
            let uid = match words.next()? {
                "*" => None,
                uid => Some(uid.parse().ok()?),
            };
            let model = unescape(words.next()?)?;
            Record::Client(period, (uid, model.into()), Entry::of(numbers(&mut words)?))
        }
        "d" => Record::Device(words.next()?.parse().ok()?, DeviceLine::of(numbers(&mut words)?)),
        // Of a newer version.
        _ => return None,
    };
    words.next().is_none().then_some(record)
}

fn numbers<'a, const N: usize>(words: &mut impl Iterator<Item = &'a str>) -> Option<[u64; N]> {
    let mut all = [0; N];
    for n in &mut all {
        *n = words.next()?.parse().ok()?;
    }
    Some(all)
}

/// A word without spaces and line breaks, whatever the name.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_whitespace() || c.is_control() || c == '%' {
            for b in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{b:02x}");
            }
        } else {
            out.push(c);
        }
    }
    if out.is_empty() {
        // No other name is written like this.
        out.push('%');
    }
    out
}

fn unescape(word: &str) -> Option<String> {
    if word == "%" {
        return Some(String::new());
    }
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b => b,
        });
    }
    String::from_utf8(out).ok()
}

/// CRC-32 as of zlib, PNG and Ethernet (polynomial 0x04c11db7, reflected). Bit by bit: records are short and few.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for b in bytes {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::account::book::tests::entry;
    use proptest::prelude::*;

    fn line(record: &Record) -> String {
        let mut out = String::new();
        write(record, &mut out);
        out.strip_suffix('\n').unwrap().to_owned()
    }

    fn client(uid: Option<u32>, model: &str) -> Record {
        Record::Client("2026-11-25".parse().unwrap(), (uid, model.into()), entry(40))
    }

    #[test]
    fn the_format_stays_as_it_is() {
        // The check value that every description of this CRC gives.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(line(&client(Some(1000), "m:q4")), "a8318cd4 c 2026-11-25 1000 m:q4 1 40 20 41 5 120 200 40");
        let device = "a2e1614b d 2026-11-25 20000000 7000000 400000 0";
        assert!(matches!(read(device.as_bytes()), Some(Record::Device(..))));
        assert_eq!(read(device.replace(" 0", " 1").as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(uid in proptest::option::of(any::<u32>()), model in ".{0,40}", n in any::<[u64; 4]>()) {
            for record in [client(uid, &model), Record::Device("2026-11".parse().unwrap(), DeviceLine::of(n))] {
                let text = line(&record);
                prop_assert!(!text.contains('\n'));
                prop_assert_eq!(read(text.as_bytes()), Some(record));
            }
        }

        #[test]
        fn a_cut_or_changed_line_is_no_record(at in 0usize..60, bit in 0u8..8) {
            let mut text = line(&client(Some(7), "ä b")).into_bytes();
            let at = at % text.len();
            prop_assert_eq!(read(&text[..at]), None);
            text[at] ^= 1 << bit;
            // A capital letter in the checksum is the same number.
            prop_assert!(read(&text).is_none() || (at < 8 && bit == 5));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            let body = String::from_utf8_lossy(&bytes).into_owned();
            let _ = read(format!("{:08x} {body}", crc32(body.as_bytes())).as_bytes());
            let body = format!("c {body}");
            let _ = read(format!("{:08x} {body}", crc32(body.as_bytes())).as_bytes());
        }
    }
}
