//! Times encoders and readers in interleaved rounds, and prints a line for each round and peer:
//! what, workload, peer, bytes, nanoseconds, with tabs between.

mod peers;
mod workload;

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use peers::{Peer, encoders, readers, readers_agree};
use workload::{JOBS_PER_REPORT, NAMES, Report};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "edge-report-bench-encode COMMAND
  time ROUNDS                    encodes all workloads, and checks W1, W3 and W7
  size ROUNDS MOST               encodes 1, 10, 100, … MOST small jobs
  count WHAT WORKLOAD PEER TIMES runs one peer so often, for a counter of instructions; WHAT: encode, check
  peers WHAT                     their names
  bytes WORKLOAD                 writes the workload's bytes
  fields WORKLOAD                writes its parts, for programs that shall not read JSON: see `fields` in src/main.rs";

/// What is read. The others hold the same kinds of text.
const CHECKED: [&str; 3] = ["W1", "W3", "W7"];

/// How long one peer runs without a pause; longer where one call takes longer.
const TURN: Duration = Duration::from_millis(4);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["time", rounds] => time(rounds.parse()?),
        ["size", rounds, most] => size(rounds.parse()?, most.parse()?),
        ["count", what, name, peer, times] => with_peers(what, &load(name)?, |peers| {
            let peer = peers.iter_mut().find(|known| known.name == peer);
            peer.ok_or("no such peer")?.run(times.parse()?);
            Ok(())
        }),
        ["peers", what] => with_peers(what, &load("W1")?, |peers| {
            peers.iter().for_each(|peer| println!("{}", peer.name));
            Ok(())
        }),
        ["bytes", name] => Ok(std::io::stdout().write_all(&load(name)?)?),
        ["fields", name] => Ok(std::io::stdout().write_all(&fields(&Report::read(&load(name)?)))?),
        _ => Err(HELP.into()),
    }
}

fn load(name: &str) -> Result<Vec<u8>> {
    workload::bytes(name).ok_or_else(|| format!("no workload {name}\n{HELP}").into())
}

fn time(rounds: usize) -> Result<()> {
    let loaded = NAMES.map(|name| workload::bytes(name).expect("it is there"));
    let reports: Vec<_> = loaded.iter().map(|bytes| Report::read(bytes)).collect();
    let jobs: Vec<_> = reports.iter().map(Report::our_jobs).collect();
    let ours: Vec<_> = reports.iter().zip(&jobs).map(|(r, j)| r.ours(j)).collect();
    let mut contests = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        let bytes = &loaded[index];
        let mut peers = encoders(bytes, &reports[index], &ours[index]);
        same_meaning(bytes, &mut peers)?;
        contests.push(Contest::new("encode", name, bytes.len(), peers));
        if CHECKED.contains(name) {
            readers_agree(bytes)
                .map_err(|peer| format!("{peer} reads {name} as something else"))?;
            contests.push(Contest::new("check", name, bytes.len(), readers(bytes)));
        }
    }
    for round in 0..rounds {
        for contest in &mut contests {
            contest.round(round);
        }
    }
    Ok(())
}

/// More jobs than fit into one report are encoded as several.
fn size(rounds: usize, most: usize) -> Result<()> {
    let sizes = std::iter::successors(Some(1), |n| Some(n * 10)).take_while(|n| *n <= most);
    for count in sizes {
        let each = count.min(JOBS_PER_REPORT);
        let loaded: Vec<_> = (0..count)
            .step_by(each)
            .map(|first| workload::jobs(first, each))
            .collect();
        let reports: Vec<_> = loaded.iter().map(|bytes| Report::read(bytes)).collect();
        let jobs: Vec<_> = reports.iter().map(Report::our_jobs).collect();
        let ours: Vec<_> = reports.iter().zip(&jobs).map(|(r, j)| r.ours(j)).collect();
        let mut lists: Vec<_> = (0..loaded.len())
            .map(|n| encoders(&loaded[n], &reports[n], &ours[n]).into_iter())
            .collect();
        let mut contest = Contest::new(
            "size",
            &count.to_string(),
            loaded.iter().map(Vec::len).sum(),
            Vec::new(),
        );
        while let Some(parts) = lists.iter_mut().map(Iterator::next).collect::<Option<_>>() {
            contest.enter(parts);
        }
        for round in 0..rounds {
            contest.round(round);
        }
    }
    Ok(())
}

fn with_peers(
    what: &str,
    bytes: &[u8],
    run: impl FnOnce(&mut [Peer<'_>]) -> Result<()>,
) -> Result<()> {
    let report = Report::read(bytes);
    let jobs = report.our_jobs();
    let ours = report.ours(&jobs);
    match what {
        "encode" => run(&mut encoders(bytes, &report, &ours)),
        "check" => run(&mut readers(bytes)),
        _ => Err(HELP.into()),
    }
}

/// Fails for an encoder whose bytes do not mean what the workload means.
fn same_meaning(bytes: &[u8], peers: &mut [Peer<'_>]) -> Result<()> {
    let meant: serde_json::Value = serde_json::from_slice(bytes)?;
    for peer in peers {
        if serde_json::from_slice::<serde_json::Value>(peer.run(1))? != meant {
            return Err(format!("{} encodes something else", peer.name).into());
        }
    }
    Ok(())
}

/// One task, done by each of the peers in turn.
struct Contest<'a> {
    what: &'static str,
    workload: String,
    bytes: usize,
    entrants: Vec<Entrant<'a>>,
}

struct Entrant<'a> {
    /// One for each report.
    parts: Vec<Peer<'a>>,
    /// How often a turn runs them.
    times: usize,
}

impl<'a> Contest<'a> {
    fn new(what: &'static str, workload: &str, bytes: usize, peers: Vec<Peer<'a>>) -> Self {
        let mut contest = Contest {
            what,
            workload: workload.into(),
            bytes,
            entrants: Vec::new(),
        };
        for peer in peers {
            contest.enter(vec![peer]);
        }
        contest
    }

    /// Finds out how often it runs in a turn, which also warms it up.
    fn enter(&mut self, parts: Vec<Peer<'a>>) {
        let mut entrant = Entrant { parts, times: 1 };
        while entrant.turn() < TURN / 2 {
            entrant.times *= 2;
        }
        self.entrants.push(entrant);
    }

    fn round(&mut self, round: usize) {
        let count = self.entrants.len();
        for index in 0..count {
            // Nobody always comes behind the same one.
            let entrant = &mut self.entrants[(index + round) % count];
            let nanos = entrant.turn().as_nanos() as f64 / entrant.times as f64;
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
            part.run(self.times);
        }
        start.elapsed()
    }
}

/// Each part as its length, a line break, its bytes and a line break; an absent one as `-` and a line break. In this order: topic, message
/// id, number of jobs; of each job: id, status, time, exceptions as text, the five parts of exceptions as an object, metrics, plan.
fn fields(report: &Report<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |part: Option<&str>| match part {
        Some(text) => out.extend_from_slice(format!("{}\n{text}\n", text.len()).as_bytes()),
        None => out.extend_from_slice(b"-\n"),
    };
    let text = |text: &'_ Option<workload::Text<'_>>| text.as_ref().map(|text| text.0.to_string());
    put(text(&report.msg_confirm_topic).as_deref());
    put(Some(&report.message_id.0));
    put(Some(&report.jobs.len().to_string()));
    for job in &report.jobs {
        put(job.job_id.map(|id| id.to_string()).as_deref());
        put(Some(&job.status.0));
        put(Some(&job.create_time.to_string()));
        let (plain, detail) = match &job.exceptions {
            None => (None, None),
            Some(workload::Exceptions::Text(text)) => (Some(&*text.0), None),
            Some(workload::Exceptions::Detail(detail)) => (None, Some(detail)),
        };
        put(plain);
        put(detail.map(|d| &*d.error_id.0));
        put(detail.map(|d| &*d.error_type.0));
        put(detail.map(|d| &*d.error_cause.0));
        put(detail.map(|d| &*d.exception.0));
        put(detail.map(|d| &*d.error_time.0));
        put(text(&job.metrics).as_deref());
        put(text(&job.plan).as_deref());
    }
    out
}
