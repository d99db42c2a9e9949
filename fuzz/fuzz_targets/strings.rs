//! Any text as a string: every sink gets what serde_json writes, by the portable way and by the vectors of the machine.
#![no_main]

use edge_report::json::{Counter, Full, Sink, SliceSink};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (&start, input) = input.split_first().unwrap_or((&0, &[]));
    let text = String::from_utf8_lossy(input);
    let expected = serde_json::to_vec(&text).expect("serde_json writes any string");
    let mut grown = vec![b' '; usize::from(start)];
    grown.put_string(&text).expect("it grows");
    assert_eq!(grown[usize::from(start)..], expected);
    let mut counter = Counter::default();
    counter.put_string(&text).expect("it counts");
    assert_eq!(counter.len(), expected.len());
    let mut buffer = vec![0; expected.len()];
    let (_, short) = buffer.split_first_mut().expect("quotes");
    assert_eq!(SliceSink::new(short).put_string(&text), Err(Full));
    let mut exact = SliceSink::new(&mut buffer);
    exact.put_string(&text).expect("it is enough");
    assert_eq!(exact.written(), expected);

    let mut room = vec![0; expected.len() + usize::from(start)];
    let (read, written) = edge_report_simd::escape(text.as_bytes(), &mut room);
    let (front, _) = text.as_bytes().split_at(read);
    // It may end within a character.
    let escaped = front.utf8_chunks().flat_map(|chunk| {
        let quoted = serde_json::to_vec(chunk.valid()).expect("serde_json writes any string");
        [&quoted[1..quoted.len() - 1], chunk.invalid()].concat()
    });
    assert_eq!(escaped.collect::<Vec<_>>(), room[..written]);
});
