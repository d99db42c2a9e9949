//! Signed reports through the receiver, beside bare inserts of the same rows: `benches/receiver/run`.

mod bare;
mod load;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Load, Run};

/// Connections that report at a time, of as many agents.
const AGENTS: usize = 64;

struct Receiver {
    child: Child,
    host: String,
}

impl Receiver {
    fn start(program: &str, dir: &Path, store: &str, more: &[&str]) -> Receiver {
        let mut child = Command::new(program)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--quiet",
                "--keys",
                "keys",
                "--store",
                store,
            ])
            .args(more)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the receiver starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("it has an output"));
        out.read_line(&mut line).expect("it says where it listens");
        let host = line
            .trim()
            .rsplit('/')
            .next()
            .expect("an address")
            .to_owned();
        Receiver { child, host }
    }

    fn metric(&self, name: &str) -> u64 {
        let page = load::get(&self.host, "/metrics");
        let name = format!("edge_report_receiver_{name} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.expect("a metric").parse().expect("a number")
    }

    fn rss_mb(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a size");
        line.split_whitespace()
            .nth(1)
            .expect("a size")
            .parse::<f64>()
            .expect("a number")
            / 1024.0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, dir, reports] = &arguments[..] else {
        panic!("benches/receiver/run starts this");
    };
    let (dir, reports) = (Path::new(dir), reports.parse().expect("a number"));
    let database = format!(
        "postgres://postgres@{}/postgres",
        dir.display().to_string().replace('/', "%2F")
    );
    let keys: String = (0..100_000)
        .map(|key| format!("{:032x} key AK{key:018} SK{key:038}\n", key / 10))
        .collect();
    fs::write(dir.join("keys"), keys).expect("a file of keys");

    println!(
        "| | reports/s | without the generator | reports in a commit | p50 ms | p99 ms | RSS MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut batch = 1;
    let mut postgres = 0.0;
    for (name, store, receivers) in [
        ("SQLite", "sqlite:reports.db", 1),
        ("PostgreSQL", database.as_str(), 1),
        ("PostgreSQL, two receivers", database.as_str(), 2),
    ] {
        let receivers: Vec<_> = (0..receivers)
            .map(|_| Receiver::start(program, dir, store, &[]))
            .collect();
        let hosts: Vec<&str> = receivers
            .iter()
            .map(|receiver| receiver.host.as_str())
            .collect();
        // Not of the same reports, which would be repeats.
        Load::new(&hosts, reports / 20, name, "warm").run(AGENTS);
        let before: u64 = receivers
            .iter()
            .map(|receiver| receiver.metric("store_commits_total"))
            .sum();
        let run = Load::new(&hosts, reports, name, "run").run(AGENTS);
        let commits: u64 = receivers
            .iter()
            .map(|receiver| receiver.metric("store_commits_total"))
            .sum::<u64>()
            - before;
        let together = reports as f64 / commits as f64;
        let rss = receivers.iter().map(Receiver::rss_mb).fold(0.0, f64::max);
        row(name, &run, reports, Some(together), Some(rss));
        if name == "PostgreSQL" {
            batch = together.round().max(1.0) as usize;
            postgres = reports as f64 / without(&run).as_secs_f64();
        }
    }
    let bare = bare::Bare::connect(&database);
    bare.insert(reports / 20, batch, "warm");
    let (took, latencies) = bare.insert(reports, batch, "batched");
    let bare_rate = reports as f64 / took.as_secs_f64();
    row(
        &format!("bare inserts of {batch}"),
        &Run::bare(took, latencies),
        reports,
        Some(batch as f64),
        None,
    );
    let single = reports / 10;
    let (took, latencies) = bare.insert(single, 1, "single");
    row(
        "bare inserts, each committed",
        &Run::bare(took, latencies),
        single,
        Some(1.0),
        None,
    );
    println!(
        "\nthe receiver on PostgreSQL: {:.2} of bare inserts of as many",
        postgres / bare_rate
    );
    println!(
        "on disk, a million reports: SQLite {} MB, PostgreSQL {} MB",
        sqlite_mb(dir, reports),
        bare.megabytes_per_million()
    );
}

/// The time, without what the generator took of the machine's two cores.
fn without(run: &Run) -> Duration {
    run.took.saturating_sub(run.generator / 2)
}

fn row(name: &str, run: &Run, reports: usize, together: Option<f64>, rss: Option<f64>) {
    let rate = |took: Duration| reports as f64 / took.as_secs_f64();
    let optional = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
    println!(
        "| {name} | {:.0} | {:.0} | {} | {:.1} | {:.1} | {} |",
        rate(run.took),
        rate(without(run)),
        optional(together),
        run.percentile(50).as_secs_f64() * 1000.0,
        run.percentile(99).as_secs_f64() * 1000.0,
        optional(rss)
    );
}

fn sqlite_mb(dir: &Path, reports: usize) -> u64 {
    let bytes = fs::metadata(dir.join("reports.db"))
        .expect("the file")
        .len();
    bytes * 1_000_000 / (reports + reports / 20) as u64 / 1_000_000
}
