//! Any bytes: the scanner takes what serde_json takes, and reads the same strings and integers.
#![no_main]

use edge_report::json::{Error, Scanner, Token};
use libfuzzer_sys::fuzz_target;

fn scan(text: &[u8]) -> Result<(), Error> {
    let mut scanner = Scanner::new(text);
    while let Some(token) = scanner.next_token()? {
        let written = &text[scanner.token_offset()..scanner.offset()];
        match token {
            Token::Key(text) | Token::String(text) => {
                let decoded: String = text.chars().collect();
                assert_eq!(
                    serde_json::from_slice::<String>(written).expect("a string"),
                    decoded
                );
                assert!(text.is(&decoded));
                let mut bytes = Vec::new();
                text.decode(&mut bytes).expect("room");
                assert_eq!(bytes, decoded.as_bytes());
            }
            // serde_json takes `-0` for a float.
            Token::Number(number) if number.raw() != "-0" => {
                assert_eq!(serde_json::from_slice::<i64>(written).ok(), number.to_i64());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads on after each fault in a string: that comes to an end too.
fn read_on(text: &[u8]) {
    let mut scanner = Scanner::new(text);
    for _ in 0..2 * text.len() + 2 {
        match scanner.next_token() {
            Ok(Some(_)) => {}
            Err(error) if error.is_in_string() => {}
            Ok(None) | Err(_) => return,
        }
    }
    panic!("no end");
}

fuzz_target!(|text: &[u8]| {
    read_on(text);
    let ours = scan(text);
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(_) => assert_eq!(ours, Ok(())),
        Err(error) => {
            let words = error.to_string();
            let own = ["number out of range", "recursion limit exceeded"];
            if !own.iter().any(|own| words.starts_with(own)) {
                assert!(ours.is_err(), "{words}");
            }
        }
    }
});
