//! `run`: from what a cluster says to what a receiver accepts, whatever is stopped and started in between.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;
use std::thread;
use std::time::Duration;

use common::agent::{Agent, QUICK, ended, text};
use common::flink::Flink;
use common::{PATIENCE, statuses, until, wait_for_status};
use edge_report::ReportBuf;
use edge_report_receiver::{Options, Receiver};

const JOB: i64 = 1001;

#[test]
fn a_real_clusters_jobs_are_reported() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let flink = flink.knows("1.20.5/10-failed-none");
    let receiver = Receiver::start(Options::new()).unwrap();
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
    wait_for_status(&receiver, 1002, "job_running_exception");
    wait_for_status(&receiver, 99270, "job_finish");
    wait_for_status(&receiver, JOB, "job_cancel_success");
    let failed = receiver.accepted().into_iter().map(|it| text(&it.body));
    let failed: Vec<String> = failed.filter(|body| body.contains("1002")).collect();
    assert!(
        failed[0].contains("java.lang.IllegalStateException"),
        "{failed:?}"
    );
    assert_eq!(flink.connections(), 1, "one connection is kept");
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
}

#[test]
fn an_end_is_reported_once_over_kills() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    let start = || Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
    flink.job(JOB, "edge");
    let agent = start();
    wait_for_status(&receiver, JOB, "job_running");
    agent.kill();
    flink.set(JOB, "edge", "FINISHED");
    let agent = start();
    let all = wait_for_status(&receiver, JOB, "job_finish");
    assert_eq!(all, ["job_running", "job_finish"]);
    // The table is written once the report is stored.
    until("the table", || dir.path().join("spool.jobs").exists());
    until("delivery", || agent.log().contains("event=delivered"));
    agent.kill();
    // Nobody asks whether that was in time: the message id is the same.
    let before = receiver.accepted().len();
    let agent = start();
    let seen = flink.requests().len();
    until("two more looks", || flink.requests().len() >= seen + 3);
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    assert_eq!(receiver.accepted().len(), before);
}

#[test]
fn whatever_is_killed_each_end_comes_once_and_none_is_lost() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    for round in 0..8 {
        let job = JOB + round;
        flink.job(job, "edge");
        let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
        let seen = flink.requests().len();
        until("a look", || flink.requests().len() > seen);
        flink.set(job, "edge", "FINISHED");
        thread::sleep(Duration::from_millis(40 * u64::try_from(round).unwrap()));
        agent.kill();
    }
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
    for job in JOB..JOB + 8 {
        wait_for_status(&receiver, job, "job_finish");
    }
    let seen = flink.requests().len();
    until("a look", || flink.requests().len() > seen);
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    let ends = receiver.accepted().into_iter();
    let mut ends: Vec<String> = ends
        .filter(|report| report.message_id.contains("FINISHED"))
        .map(|report| report.message_id)
        .collect();
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 8, "{ends:?}");
}

#[test]
fn a_cluster_that_is_away_ends_no_job() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    flink.job(JOB, "edge");
    let more = ["--flink-timeout", "500", "--heartbeat", "100"];
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    wait_for_status(&receiver, JOB, "job_running");
    flink.stop();
    agent.wait_for("event=flink-failed", 1);
    let flink = flink.start_again();
    agent.wait_for("event=flink-is-back", 1);
    // Lies are no end either.
    flink.answers(503, "<html>");
    agent.wait_for("event=flink-failed", 2);
    flink.answers(200, &"x".repeat(2 << 20));
    thread::sleep(Duration::from_millis(300));
    flink.answers_well();
    agent.wait_for("event=flink-is-back", 2);
    assert_eq!(statuses(&receiver.accepted(), JOB), ["job_running"]);
    flink.set(JOB, "edge", "CANCELED");
    let all = wait_for_status(&receiver, JOB, "job_cancel_success");
    assert_eq!(all, ["job_running", "job_cancel_success"]);
}

#[test]
fn a_cluster_gets_its_time_and_sends_nobody_elsewhere() {
    let (dir, flink, other) = (tempfile::tempdir().unwrap(), Flink::start(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    flink.job(JOB, "edge");
    flink.delays(Duration::from_secs(5));
    let more = ["--flink-timeout", "200", "--flink-token", "T0KEN"];
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    agent.wait_for("is the cluster busy, or --flink-timeout too short?", 1);
    flink.delays(Duration::ZERO);
    wait_for_status(&receiver, JOB, "job_running");
    flink.redirects_to(&other.url());
    agent.wait_for("event=flink-failed", 2);
    assert!(other.requests().is_empty());
}

#[test]
fn what_a_receiver_that_is_away_misses_comes_later() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    let url = receiver.url();
    drop(receiver);
    flink.job(JOB, "edge");
    let agent = Agent::run(dir.path(), &flink.url(), &url, &[]);
    agent.wait_for("event=waiting", 1);
    flink.fails_with(JOB, "java.lang.Error: mine\n\tat Edge.map(Edge.java:17)");
    flink.set(JOB, "edge", "FAILED");
    agent.wait_for("event=stored", 2);
    // In its outage it ends at once.
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));

    let address = url.split_once("//").unwrap().1.parse().unwrap();
    let receiver = Receiver::start(Options::new().listen(address)).unwrap();
    let _agent = Agent::run(dir.path(), &flink.url(), &url, &[]);
    let all = wait_for_status(&receiver, JOB, "job_running_exception");
    assert_eq!(all, ["job_running", "job_running_exception"]);
    let last = receiver.accepted().pop().unwrap();
    assert!(text(&last.body).contains("java.lang.Error: mine"));
}

#[test]
fn sigterm_ends_after_the_exchange_under_way() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let slow = Options::new().fault("delay=1000".parse().unwrap());
    let receiver = Receiver::start(slow).unwrap();
    flink.job(JOB, "edge");
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
    assert_eq!(receiver.wait_for(1, PATIENCE).len(), 1);
    agent.signal("TERM");
    let log = dir.path().join("agent.log");
    assert_eq!(agent.wait(), Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("event=delivered") && log.contains("event=ended"),
        "{log}"
    );
    // It knows that it is accepted: nothing waits.
    let again = Receiver::start(Options::new()).unwrap();
    let args = [
        "run",
        "--once",
        "--flink",
        &flink.url(),
        "--url",
        &again.url(),
    ];
    let args = [&args[..], &["--project-id", "0a1b2c", "--spool", "spool"]].concat();
    let once = ended(dir.path(), &args);
    assert!(once.status.success(), "{once:?}");
    let twice = again.accepted().into_iter();
    let twice = twice.filter(|report| report.message_id == receiver.accepted()[0].message_id);
    assert_eq!(twice.count(), 0);
}

#[test]
fn once_looks_delivers_and_ends() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    let (cluster, url) = (flink.url(), receiver.url());
    let args = ["run", "--once", "--flink", &cluster, "--url", &url];
    let args = [&args[..], &["--project-id", "0a1b2c", "--spool", "spool"]].concat();
    flink.job(JOB, "edge");
    flink.set(1002, "other", "CANCELED");
    let once = ended(dir.path(), &[&args[..], &["--cache", "0"]].concat());
    assert!(once.status.success(), "{once:?}");
    assert_eq!(statuses(&receiver.accepted(), JOB), ["job_running"]);
    assert_eq!(statuses(&receiver.accepted(), 1002), ["job_cancel_success"]);
    let count = receiver.accepted().len();
    assert!(ended(dir.path(), &args).status.success());
    let ends = statuses(&receiver.accepted()[count..], 1002);
    assert!(ends.is_empty(), "the end came twice");

    drop(receiver);
    flink.set(JOB, "edge", "FINISHED");
    let quick = ["--cache", "0", "--grace", "100"];
    let waits = ended(dir.path(), &[&args[..], &quick].concat());
    assert_eq!(waits.status.code(), Some(1));
    let said = text(&waits.stderr);
    assert!(
        said.contains("1 reports still wait in the spool; the next run delivers them"),
        "{said}"
    );
    flink.stop();
    let away = ended(dir.path(), &[&args[..], &quick].concat());
    assert_eq!(away.status.code(), Some(1));
    assert!(
        text(&away.stderr).contains("does it listen where --flink says?"),
        "{away:?}"
    );
}

#[test]
fn jobs_without_room_are_told() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    for job in JOB..JOB + 3 {
        flink.job(job, "edge");
    }
    let cluster = flink.url();
    let args = ["run", "--once", "--dry-run", "--flink", &cluster];
    let once = ended(dir.path(), &[&args[..], &["--max-jobs", "2"]].concat());
    assert_eq!(once.status.code(), Some(1), "{once:?}");
    let said = text(&once.stderr);
    let why = "1 jobs have no room and are not reported; raise --max-jobs";
    assert!(said.contains(why), "{said}");
    let agent = Agent::run(dir.path(), &cluster, &receiver.url(), &["--max-jobs", "2"]);
    agent.wait_for("event=jobs-unwatched jobs=1", 1);
    let seen = flink.requests().len();
    until("two more looks", || flink.requests().len() >= seen + 3);
    let told = agent.log().matches("jobs-unwatched").count();
    assert_eq!(told, 1, "told again at each look");
}

#[test]
fn once_ends_by_a_signal_too() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    let url = receiver.url();
    drop(receiver);
    flink.job(JOB, "edge");
    let agent = Agent::run(dir.path(), &flink.url(), &url, &["--once"]);
    agent.wait_for("event=waiting", 1);
    agent.signal("TERM");
    let log = dir.path().join("agent.log");
    assert_eq!(agent.wait(), Some(1));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("1 reports still wait in the spool"), "{log}");
}

#[test]
fn what_is_refused_is_no_success_of_once() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let refusing = Options::new().fault("status=400,code=DLI.0001".parse().unwrap());
    let receiver = Receiver::start(refusing).unwrap();
    flink.job(JOB, "edge");
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &["--once"]);
    agent.wait_for("1 reports are dead letters now; `letters` shows why", 1);
    assert_eq!(agent.wait(), Some(1));
}

#[test]
fn a_spool_that_is_removed_ends_it() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    flink.job(JOB, "edge");
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &[]);
    wait_for_status(&receiver, JOB, "job_running");
    fs::remove_dir_all(dir.path().join("spool")).unwrap();
    flink.set(JOB, "edge", "FINISHED");
    let log = dir.path().join("agent.log");
    assert_eq!(agent.wait(), Some(1));
    // It ends without waiting for what cannot come.
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("edge-report-agent: "), "{log}");
    assert!(!log.contains("final=true"), "{log}");
}

#[test]
fn a_dry_run_prints_and_touches_nothing() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    flink.job(JOB, "edge");
    flink.set(1002, "other", "FINISHED");
    let cluster = flink.url();
    let args = [
        &["run", "--dry-run", "--once", "--flink", &cluster][..],
        &QUICK,
    ]
    .concat();
    let once = ended(dir.path(), &args);
    assert!(once.status.success(), "{once:?}");
    let lines = text(&once.stdout);
    let reports = lines
        .lines()
        .map(|line| ReportBuf::from_json(line.as_bytes()).unwrap());
    let jobs: Vec<_> = reports
        .flat_map(|report| report.jobs)
        .map(|job| job.job_id)
        .collect();
    assert_eq!(jobs.len(), 2, "{lines}");
    assert!(jobs.contains(&Some(JOB)) && jobs.contains(&Some(1002)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn jobs_are_mapped_by_name() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    flink.job(JOB, "edge=a");
    let cluster = flink.url();
    let args = ["run", "--dry-run", "--once", "--flink", &cluster];
    let mapped = ["--job", "edge=a=7", "--job", "b=8", "--node", "node-7"];
    let once = ended(dir.path(), &[&args[..], &mapped].concat());
    let line = text(&once.stdout);
    assert!(line.contains(r#""job_id":7,"#), "{line}");
    assert!(line.contains(r#""message_id":"node-7-"#), "{line}");
}

#[test]
fn metrics_tell_how_things_stand() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    flink.job(JOB, "edge");
    let more = ["--metrics-file", "agent.prom", "--heartbeat", "0"];
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    let file = dir.path().join("agent.prom");
    let says = |line: &str| {
        // It is whole whenever it is read.
        let text = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            text.is_empty() || text.contains("\nedge_report_agent_failures "),
            "{text}"
        );
        text.lines().any(|it| it == line)
    };
    until("delivered", || says("edge_report_agent_delivered_total 1"));
    for line in [
        "edge_report_agent_flink_up 1",
        "edge_report_agent_jobs 1",
        "edge_report_agent_waiting 0",
        "# TYPE edge_report_agent_delivered_total counter",
    ] {
        assert!(says(line), "{line}");
    }
    flink.stop();
    until("away", || says("edge_report_agent_flink_up 0"));
    drop(agent);
}

#[test]
fn systemd_is_told() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command =
        common::agent::command(dir.path(), &["run", "--dry-run", "--flink", &flink.url()]);
    command.env("NOTIFY_SOCKET", &path);
    let agent = Agent::spawn(command, dir.path());
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"READY=1");
    agent.signal("TERM");
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"STOPPING=1");
    assert_eq!(agent.wait(), Some(0));
}
