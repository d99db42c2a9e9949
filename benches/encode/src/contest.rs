//! Peers in turn, round after round.

use std::time::{Duration, Instant};

use crate::peers::Peer;

/// How long one peer runs without a pause; longer where one call takes longer.
const TURN: Duration = Duration::from_millis(4);
/// The best of these counts, lest another process is what is measured.
const TURNS: usize = 3;

/// One task, done by each of the peers in turn.
pub struct Contest<'a> {
    what: &'static str,
    workload: String,
    bytes: usize,
    entrants: Vec<Entrant<'a>>,
}

struct Entrant<'a> {
    /// One for each report.
    parts: Vec<Peer<'a>>,
    memory: Vec<u8>,
    /// How often a turn runs them.
    times: usize,
}

impl<'a> Contest<'a> {
    pub fn new(what: &'static str, workload: &str, bytes: usize) -> Self {
        Contest {
            what,
            workload: workload.into(),
            bytes,
            entrants: Vec::new(),
        }
    }

    /// Adds a peer, once for each report; finds out how often it runs in a turn, which also warms it up.
    pub fn enter(&mut self, parts: Vec<Peer<'a>>) {
        let room = parts.iter().map(|part| part.room).max();
        let mut entrant = Entrant {
            parts,
            memory: vec![0; room.unwrap_or(0)],
            times: 1,
        };
        // Twice for the same reason.
        while entrant.turn().min(entrant.turn()) < TURN / 2 {
            entrant.times *= 2;
        }
        self.entrants.push(entrant);
    }

    pub fn round(&mut self, round: usize) {
        let count = self.entrants.len();
        for index in 0..count {
            // Nobody always comes behind the same one.
            let entrant = &mut self.entrants[(index + round) % count];
            let best = (0..TURNS).map(|_| entrant.turn()).min().unwrap_or_default();
            let nanos = best.as_nanos() as f64 / entrant.times as f64;
            println!(
                "{}\t{}\t{}\t{}\t{nanos:.2}",
                self.what, self.workload, entrant.parts[0].name, self.bytes
            );
        }
    }
}

impl Entrant<'_> {
    fn turn(&mut self) -> Duration {
        let start = Instant::now();
        for part in &mut self.parts {
            part.run(&mut self.memory, self.times);
        }
        start.elapsed()
    }
}
