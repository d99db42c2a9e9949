//! Times encoders and readers in interleaved rounds, and prints a line for each round and peer:
//! what, workload, peer, bytes, nanoseconds, with tabs between.

mod contest;
mod peers;
mod workload;

use std::error::Error;
use std::io::Write;

use contest::Contest;
use peers::{Peer, encoders, readers, readers_agree};
use workload::{JOBS_PER_REPORT, NAMES, Report};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "edge-report-bench-encode COMMAND
  time ROUNDS                    encodes all workloads, and checks W1, W3 and W7
  size ROUNDS MOST               encodes 1, 10, 100, … MOST small jobs
  count WHAT WORKLOAD PEER TIMES runs one peer so often, for a counter of instructions; WHAT: encode, check
  peers WHAT                     their names
  bytes WORKLOAD                 writes the workload's bytes
  fields WORKLOAD                writes its parts, for programs that shall not read JSON: see src/workload.rs";

/// What is read. The others hold the same kinds of text.
const CHECKED: [&str; 3] = ["W1", "W3", "W7"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["time", rounds] => time(rounds.parse()?),
        ["size", rounds, most] => size(rounds.parse()?, most.parse()?),
        ["count", what, name, peer, times] => with_peers(what, &load(name)?, |peers| {
            let peer = peers.iter_mut().find(|known| known.name == peer);
            let peer = peer.ok_or("no such peer")?;
            peer.run(&mut vec![0; peer.room], times.parse()?);
            Ok(())
        }),
        ["peers", what] => with_peers(what, &load("W1")?, |peers| {
            peers.iter().for_each(|peer| println!("{}", peer.name));
            Ok(())
        }),
        ["bytes", name] => Ok(std::io::stdout().write_all(&load(name)?)?),
        ["fields", name] => Ok(std::io::stdout().write_all(&Report::read(&load(name)?).fields())?),
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
        contests.push(contest("encode", name, bytes, peers));
        if CHECKED.contains(name) {
            readers_agree(bytes)
                .map_err(|peer| format!("{peer} reads {name} as something else"))?;
            contests.push(contest("check", name, bytes, readers(bytes)));
        }
    }
    for round in 0..rounds {
        for contest in &mut contests {
            contest.round(round);
        }
    }
    Ok(())
}

fn contest<'a>(what: &'static str, name: &str, bytes: &[u8], peers: Vec<Peer<'a>>) -> Contest<'a> {
    let mut contest = Contest::new(what, name, bytes.len());
    for peer in peers {
        contest.enter(vec![peer]);
    }
    contest
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
        let bytes = loaded.iter().map(Vec::len).sum();
        let mut contest = Contest::new("size", &count.to_string(), bytes);
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
        let mut memory = vec![0; peer.room];
        let written: serde_json::Value = serde_json::from_slice(peer.run(&mut memory, 1))?;
        if written != meant {
            return Err(format!("{} encodes something else", peer.name).into());
        }
    }
    Ok(())
}
