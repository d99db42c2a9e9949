//! Any response: two bytes of status, Retry-After and Date up to a zero byte each, and the body.
#![no_main]

use edge_report::WallTime;
use edge_report::exchange::{MAX_REPLY_BYTES, Outcome, ReplyHeaders, read_reply};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|answer: &[u8]| {
    let Some((&[low, high], rest)) = answer.split_first_chunk() else {
        return;
    };
    let mut parts = rest.splitn(3, |&b| b == 0);
    let mut header = || str::from_utf8(parts.next()?).ok();
    let headers = ReplyHeaders::default()
        .with_retry_after(header())
        .with_date(header());
    let body = parts.next().unwrap_or_default();
    let status = u16::from_le_bytes([low, high]);
    let reply = read_reply(status, headers, body);
    for now in [i64::MIN, 0, 1_591_104_868_201, i64::MAX].map(WallTime::from_unix_ms) {
        let _ = (reply.retry_after(now), reply.clock_skew_ms(now));
    }
    let _ = reply.to_string();

    if reply.outcome == Outcome::Accepted {
        assert!((200..300).contains(&status));
        assert!(reply.error_code.is_none());
        // serde_json refuses spoilt texts anywhere, and of a repeated key gives the last value.
        if let Ok(Value::Object(body)) = serde_json::from_slice(body) {
            let said = &body["is_success"];
            assert!(*said == Value::Bool(true) || *said == "true");
        }
    }
    if reply.outcome == Outcome::Refused {
        assert!(matches!(
            status,
            200..=299 | 400 | 404 | 405 | 409 | 413 | 422
        ));
        assert!(body.len() <= MAX_REPLY_BYTES && body.trim_ascii().ends_with(b"}"));
        assert!(reply.error_code.is_some() || (200..300).contains(&status));
    }
});
