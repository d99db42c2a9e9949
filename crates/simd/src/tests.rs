//! Each level against serde_json.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used
)]

use super::{BLOCK, Level, escape};

/// The levels of this machine; a test says which are not looked at.
fn levels() -> Vec<Level> {
    let (there, missing): (Vec<_>, Vec<_>) = [Level::Avx2, Level::Avx512]
        .into_iter()
        .partition(|level| level.is_there());
    for level in missing {
        println!("not tested, since this machine has it not: {level:?}");
    }
    there
}

/// At each place in memory: what is read is right, and nothing else is written but junk inside of `to`.
fn check(level: Level, text: &str, room: usize) {
    for shift in 0..3 {
        let mut source = vec![b'#'; shift * 7];
        source.extend(text.as_bytes());
        let mut buffer = vec![0xa5; room + shift * 5 + 1];
        let to = &mut buffer[shift * 5..][..room];
        let (read, written) = level.escape(&source[shift * 7..], to);
        assert!(read.is_multiple_of(BLOCK) && read <= text.len());
        let expected: Vec<u8> = text.as_bytes()[..read]
            .iter()
            .flat_map(|byte| escaped(*byte))
            .collect();
        assert_eq!(to[..written], expected, "{level:?}, {room} bytes of room");
        assert!(
            buffer[..shift * 5]
                .iter()
                .chain(buffer.last())
                .all(|byte| *byte == 0xa5)
        );
        let rest = &text.as_bytes()[read..];
        let next = &rest[..rest.len().min(BLOCK)];
        let has_long = next.iter().any(|byte| escaped(*byte).len() > 2);
        assert!(
            next.len() < BLOCK || has_long || room - written < 144,
            "ends for no reason"
        );
    }
}

fn escaped(byte: u8) -> Vec<u8> {
    match byte.is_ascii() {
        true => {
            let text = serde_json::to_vec(&char::from(byte)).unwrap();
            text[1..text.len() - 1].to_vec()
        }
        false => vec![byte],
    }
}

#[test]
fn each_byte_at_each_place() {
    let plain = "abcdefghijklmnopqrstuvwxyz".repeat(4) + "漢";
    for level in levels() {
        for byte in 0..128u8 {
            for place in 0..BLOCK {
                let mut text = plain.clone();
                text.replace_range(place..=place, char::from(byte).encode_utf8(&mut [0; 4]));
                check(level, &text, 1000);
            }
        }
    }
}

#[test]
fn each_length_of_text_and_room() {
    let line = "\tat org.apache.flink.\"runtime\".taskmanager.Task.run(Task.java:562)\\n\r\n😀\u{8}\u{c} plain text of some length, without anything";
    let text = line.repeat(4);
    for level in levels() {
        for len in (0..text.len()).filter(|len| text.is_char_boundary(*len)) {
            check(level, &text[..len], 2 * len + 144);
            check(level, &text, len);
        }
    }
}

#[test]
fn each_pattern_of_sixteen() {
    for level in levels() {
        for set in 0..=u16::MAX {
            let bit = |bit: u32| if set >> (bit % 16) & 1 == 1 { '"' } else { 'x' };
            let text: String = (0..64).map(bit).collect();
            let mut to = [0; 300];
            let (read, written) = level.escape(text.as_bytes(), &mut to);
            assert_eq!(
                (read, &to[..written]),
                (64, text.replace('"', "\\\"").as_bytes())
            );
        }
    }
}

#[test]
fn the_best_is_taken() {
    let mut to = [0; 300];
    let taken = escape(&[b'"'; 64], &mut to);
    assert_eq!(
        taken,
        if levels().is_empty() {
            (0, 0)
        } else {
            (64, 128)
        }
    );
}
