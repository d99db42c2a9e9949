//! The encoders and readers that are compared. Each runs a number of times into the same memory.

use std::hint::black_box;

use edge_report::Severity;
use json_escape_simd::escape_into;

use crate::workload::{Detail, Exceptions, Report};

/// Under this name it is compared with the others.
pub const OURS: &str = "edge-report";

pub struct Peer<'a> {
    pub name: &'static str,
    /// How much memory it wants to begin with.
    pub room: usize,
    run: Run<'a>,
}

/// Runs so many times over the memory; gives the length of what was written to its front.
type Run<'a> = Box<dyn FnMut(&mut Vec<u8>, usize) -> usize + 'a>;

impl<'a> Peer<'a> {
    fn new(
        name: &'static str,
        room: usize,
        mut once: impl FnMut(&mut Vec<u8>) -> usize + 'a,
    ) -> Self {
        let run = move |memory: &mut Vec<u8>, times| {
            let mut len = 0;
            for _ in 0..times {
                len = once(black_box(&mut *memory));
            }
            len
        };
        Peer {
            name,
            room,
            run: Box::new(run),
        }
    }

    /// `memory` is of at least [`room`](Self::room) bytes, or what another run of the same encoder left.
    pub fn run<'m>(&mut self, memory: &'m mut Vec<u8>, times: usize) -> &'m [u8] {
        let len = (self.run)(memory, times);
        &memory[..len]
    }
}

/// `bytes` are the canonical ones, `report` the same as a structure.
pub fn encoders<'a>(
    bytes: &'a [u8],
    report: &'a Report<'a>,
    ours: &'a edge_report::Report<'a>,
) -> Vec<Peer<'a>> {
    let room = bytes.len();
    vec![
        memcpy(bytes),
        Peer::new(OURS, room, move |memory| {
            black_box(ours).encode(memory).expect("it is valid").len()
        }),
        Peer::new("edge-report, Vec", room, move |memory| {
            memory.clear();
            black_box(ours).encode_into(memory).expect("it is valid");
            memory.len()
        }),
        Peer::new("serde_json", room, move |memory| {
            *memory = serde_json::to_vec(black_box(report)).expect("it is valid");
            memory.len()
        }),
        Peer::new("serde_json, reused Vec", room, move |memory| {
            memory.clear();
            serde_json::to_writer(&mut *memory, black_box(report)).expect("it is valid");
            memory.len()
        }),
        Peer::new("sonic-rs", room, move |memory| {
            memory.clear();
            sonic_rs::to_writer(&mut *memory, black_box(report)).expect("it is valid");
            memory.len()
        }),
        Peer::new("simd-json", room, move |memory| {
            memory.clear();
            simd_json::to_writer(&mut *memory, black_box(report)).expect("it is valid");
            memory.len()
        }),
        Peer::new("serde-json-core", room, move |memory| {
            serde_json_core::to_slice(black_box(report), memory).expect("it is valid")
        }),
        Peer::new("json-escape-simd, by hand", room, move |memory| {
            memory.clear();
            by_hand(black_box(report), memory);
            memory.len()
        }),
    ]
}

/// They write nothing; what they read is compared by [`readers_agree`].
pub fn readers(bytes: &[u8]) -> Vec<Peer<'_>> {
    let mut buffers = simd_json::Buffers::new(bytes.len());
    let spaced = [b" ", bytes].concat();
    vec![
        memcpy(bytes),
        Peer::new(OURS, 0, move |_| {
            check(bytes);
            0
        }),
        // Behind a space it is not in the library's own form, for which there is a short way.
        Peer::new("edge-report, long way", 0, move |_| {
            check(&spaced);
            0
        }),
        Peer::new("serde_json", 0, move |_| {
            black_box(by_serde_json(black_box(bytes)));
            0
        }),
        Peer::new("sonic-rs", 0, move |_| {
            black_box(by_sonic_rs(black_box(bytes)));
            0
        }),
        // It spoils what it reads, so that a copy belongs to it.
        Peer::new("simd-json", 0, move |memory| {
            memory.clear();
            memory.extend_from_slice(black_box(bytes));
            black_box(by_simd_json(memory, &mut buffers));
            0
        }),
    ]
}

fn check(bytes: &[u8]) {
    let mut errors = 0;
    edge_report::check(black_box(bytes), |finding| {
        errors += usize::from(finding.severity() == Severity::Error);
    });
    assert_eq!(errors, 0);
}

/// Names the reader that reads something else than the others.
pub fn readers_agree(bytes: &[u8]) -> Result<(), &'static str> {
    let same = |report: &Report<'_>| serde_json::to_vec(report).is_ok_and(|read| read == bytes);
    let mut copy = bytes.to_vec();
    let mut buffers = simd_json::Buffers::default();
    for (name, agrees) in [
        (OURS, edge_report::check(bytes, |_| {}).is_valid()),
        ("serde_json", same(&by_serde_json(bytes))),
        ("sonic-rs", same(&by_sonic_rs(bytes))),
        ("simd-json", same(&by_simd_json(&mut copy, &mut buffers))),
    ] {
        if !agrees {
            return Err(name);
        }
    }
    Ok(())
}

fn by_serde_json(bytes: &[u8]) -> Report<'_> {
    serde_json::from_slice(bytes).expect("it is a report")
}

fn by_sonic_rs(bytes: &[u8]) -> Report<'_> {
    sonic_rs::from_slice(bytes).expect("it is a report")
}

fn by_simd_json<'a>(bytes: &'a mut [u8], buffers: &mut simd_json::Buffers) -> Report<'a> {
    simd_json::serde::from_slice_with_buffers(bytes, buffers).expect("it is a report")
}

fn memcpy(bytes: &[u8]) -> Peer<'_> {
    Peer::new("memcpy", bytes.len(), move |memory| {
        memory[..bytes.len()].copy_from_slice(black_box(bytes));
        bytes.len()
    })
}

/// No encoder off the shelf: what one would get by writing the JSON around a fast escaper.
fn by_hand(report: &Report<'_>, out: &mut Vec<u8>) {
    let mut integers = itoa::Buffer::new();
    out.extend_from_slice(b"{\"jobs\":[");
    for (index, job) in report.jobs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Some(id) = job.job_id {
            out.extend_from_slice(b"{\"job_id\":");
            out.extend_from_slice(integers.format(id).as_bytes());
            out.extend_from_slice(b",\"status\":");
        } else {
            out.extend_from_slice(b"{\"status\":");
        }
        escape_into(&job.status.0, out);
        out.extend_from_slice(b",\"create_time\":");
        out.extend_from_slice(integers.format(job.create_time).as_bytes());
        match &job.exceptions {
            None => {}
            Some(Exceptions::Text(text)) => member(b",\"exceptions\":", &text.0, out),
            Some(Exceptions::Detail(detail)) => detail_by_hand(detail, out),
        }
        if let Some(metrics) = &job.metrics {
            member(b",\"metrics\":", &metrics.0, out);
        }
        if let Some(plan) = &job.plan {
            member(b",\"plan\":", &plan.0, out);
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some(topic) = &report.msg_confirm_topic {
        member(b",\"msg_confirm_topic\":", &topic.0, out);
    }
    member(b",\"message_id\":", &report.message_id.0, out);
    out.push(b'}');
}

fn detail_by_hand(detail: &Detail<'_>, out: &mut Vec<u8>) {
    member(b",\"exceptions\":{\"error_id\":", &detail.error_id.0, out);
    member(b",\"error_type\":", &detail.error_type.0, out);
    member(b",\"error_cause\":", &detail.error_cause.0, out);
    member(b",\"exception\":", &detail.exception.0, out);
    member(b",\"error_time\":", &detail.error_time.0, out);
    out.push(b'}');
}

fn member(key: &[u8], text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    escape_into(text, out);
}
