//! A cluster with a thousand jobs, and everything that goes wrong with one, in virtual time.
//!
//! What must hold, whatever happens: no end is told twice (but under its message id and with its bytes, when the table was lost), none is lost that the
//! watch could have seen, none is invented; after its end nothing is told of a run; the exception is that of the last attempt; an alarm has a cause; and
//! Flink is asked no more often than the options say.

use std::collections::{BTreeMap, BTreeSet};

use edge_report::flink::{Jid, Options, State};

use super::cluster::{Answer, Cluster, EPOCH};
use super::host::Host;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

struct World {
    jobs: u64,
    /// Each second something happens to one job of so many.
    calm: u64,
    slots: usize,
    minutes: u64,
    /// One answer in so many goes wrong; 0: none.
    faults: u64,
    /// The job manager is killed every so many minutes; 0: never.
    kills: u64,
    /// The agent starts anew every so many minutes, one time in two with an old table; 0: never.
    restarts: u64,
    seed: u64,
}

/// What truly happened to a run.
#[derive(Default)]
struct Truth {
    end: Option<(State, i64)>,
    has_run: bool,
    had_trouble: bool,
    last_failure: Option<String>,
    /// A whole and present overview with its end reached the watch.
    was_seen: bool,
    /// Its details went wrong, or were gone.
    was_disturbed: bool,
}

type Key = (Jid, i64);

fn live(
    cluster: &mut Cluster,
    truth: &mut BTreeMap<Key, Truth>,
    world: &World,
    now: u64,
    random: &mut Random,
) {
    for _ in 0..world.jobs / world.calm + 1 {
        let id = 1 + random.below(world.jobs) as i64;
        let jid = Jid::of_job_id(id);
        let Some(run) = cluster.runs.iter().find(|run| run.jid == jid).cloned() else {
            cluster.submit(id, now);
            truth.insert((jid, EPOCH + now as i64), Truth::default());
            continue;
        };
        let key = (jid, run.start);
        match run.state {
            State::Initializing => cluster.set(
                jid,
                if random.one_in(20) {
                    State::Failed
                } else {
                    State::Created
                },
                now,
            ),
            State::Created => cluster.set(jid, State::Running, now),
            State::Restarting => cluster.set(jid, State::Running, now),
            State::Cancelling => cluster.set(jid, State::Canceled, now),
            State::Running => {
                let message = format!("run {} attempt {}", run.start, run.failures.len());
                match random.below(8) {
                    0 => cluster.set(jid, State::Finished, now),
                    1 => cluster.set(jid, State::Cancelling, now),
                    2 => cluster.fail(jid, State::Failed, &message, now),
                    3 | 4 => cluster.fail(jid, State::Restarting, &message, now),
                    _ => {}
                }
            }
            // It comes back under its id.
            _ if run.since + 60_000 < EPOCH + now as i64 && random.one_in(4) => {
                cluster.submit(id, now);
                truth.insert((jid, EPOCH + now as i64), Truth::default());
                continue;
            }
            _ => {}
        }
        let run = cluster.run(jid);
        let known = truth.get_mut(&key).unwrap();
        known.end = run.end();
        known.has_run |= run.has_run;
        known.had_trouble |= matches!(run.state, State::Restarting | State::Failed);
        known.last_failure = run.failures.last().map(|(_, message)| message.clone());
    }
}

/// What stands between the cluster and the watch.
fn spoil(
    path: &str,
    answer: Answer,
    old: Option<&String>,
    odds: u64,
    random: &mut Random,
) -> Answer {
    let (status, body) = answer?;
    if odds == 0 || !random.one_in(odds) {
        return Some((status, body));
    }
    match random.below(7) {
        0 => None,
        1 => Some((503, "<html>busy</html>".to_owned())),
        2 => Some((200, String::new())),
        3 => Some((
            200,
            body[..random.below(body.len() as u64) as usize]
                .chars()
                .collect(),
        )),
        4 => Some((200, "<html>log in first</html>".to_owned())),
        5 if path == "/jobs/overview" => Some((200, old.cloned().unwrap_or(body))),
        5 => Some((200, body.replace("\"jid\":\"0", "\"jid\":\"1"))),
        _ => Some((404, r#"{"errors":["not found"]}"#.to_owned())),
    }
}

fn simulate(world: &World) {
    let mut random = Random(world.seed);
    let options = Options::default();
    let mut host = Host::sized(options, world.slots, 16_384);
    let mut truth: BTreeMap<Key, Truth> = BTreeMap::new();
    let mut old: Option<String> = None;
    let (mut kept, mut older) = (host.saved(), host.saved());
    let mut were_lost = false;
    let end = world.minutes * 60_000;
    let mut stored = Vec::new();
    while host.now < end + 300_000 {
        let now = host.now;
        let minute = now / 60_000;
        let is_live = now < end;
        if is_live {
            live(&mut host.cluster, &mut truth, world, now, &mut random);
            let is_new_minute = now % 60_000 < 1_000;
            if world.kills > 0 && is_new_minute && minute % world.kills == world.kills - 1 {
                for run in &host.cluster.runs {
                    truth.get_mut(&(run.jid, run.start)).unwrap().was_disturbed = true;
                }
                host.cluster.restart();
            }
            if world.restarts > 0 && is_new_minute && minute % world.restarts == world.restarts - 1
            {
                let is_old = random.one_in(2);
                were_lost |= is_old;
                host.start_anew(options, if is_old { &older } else { &kept });
            }
        }
        host.is_full = is_live && minute % 7 == 6;
        host.latency = if minute % 5 == 4 { 40 } else { 1 };
        let faults = if is_live { world.faults } else { 0 };
        let step = (now / 1_000 + 1) * 1_000;
        host.run_with(step, |_, path, answer| {
            let whole = answer.clone();
            let given = spoil(path, answer, old.as_ref(), faults, &mut random);
            if path == "/jobs/overview" {
                if given == whole {
                    for run in given.iter().flat_map(|(_, body)| ended(body)) {
                        truth.get_mut(&run).unwrap().was_seen = true;
                    }
                    if random.one_in(10) || old.is_none() {
                        old = whole.map(|(_, body)| body);
                    }
                }
            } else if given != whole || faults > 0 {
                let jid = Jid::from_hex(&path[6..38]).unwrap();
                for (_, known) in truth.iter_mut().filter(|(key, _)| key.0 == jid) {
                    known.was_disturbed = true;
                }
            }
            given
        });
        if host.watch.needs_saving() {
            older = std::mem::replace(&mut kept, host.saved());
        }
        stored.append(&mut host.stored);
        host.offered.clear();
    }

    let mut ends: BTreeMap<Key, (String, Vec<u8>)> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut with_text = 0;
    for report in &stored {
        if !ids.insert(report.message_id.clone()) {
            assert!(report.is_final && were_lost, "{} twice", report.message_id);
        }
        for job in &report.jobs {
            let jid = Jid::of_job_id(job["job_id"].as_i64().unwrap());
            let key = (jid, job["create_time"].as_i64().unwrap());
            let known = &truth[&key];
            let status = job["status"].as_str().unwrap();
            if let Some((id, bytes)) = ends.get(&key) {
                assert!(were_lost, "{key:?} {status} after its end");
                if report.is_final {
                    assert_eq!(*id, report.message_id);
                    assert!(known.was_disturbed || *bytes == report.bytes);
                }
                continue;
            }
            if status == "job_running_exception" {
                assert!(known.had_trouble, "{key:?} was never in trouble");
            }
            if !report.is_final {
                continue;
            }
            let (state, time) = known.end.unwrap();
            assert!(report.message_id.ends_with(&format!("-{state}-{time}")));
            let expected = match (state, known.has_run) {
                (State::Finished, _) => "job_finish",
                (State::Canceled, _) => "job_cancel_success",
                (_, true) => "job_running_exception",
                (_, false) => "job_submit_fail",
            };
            assert_eq!(status, expected, "{key:?}");
            if let (State::Failed, Some(message), false) =
                (state, &known.last_failure, known.was_disturbed)
            {
                let cause = job["exceptions"]["error_cause"].as_str().unwrap_or("none");
                assert!(cause.ends_with(message), "{cause} of {key:?}");
                with_text += 1;
            }
            ends.insert(key, (report.message_id.clone(), report.bytes.clone()));
        }
    }
    let lost: Vec<&Key> = (truth.iter())
        .filter(|(key, known)| known.was_seen && !ends.contains_key(key))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(lost, Vec::<&Key>::new(), "of {}", ends.len());
    assert!(
        ends.len() as u64 >= world.jobs * world.minutes / world.calm / 2,
        "only {} ends",
        ends.len()
    );
    assert!(with_text > 0 || world.faults > 0);

    // The budget.
    let mut since = 0u16;
    for (_, path) in &host.asked {
        since = if path == "/jobs/overview" {
            1
        } else {
            since + 1
        };
        assert!(since <= options.requests);
    }
    let polls = host
        .asked
        .iter()
        .filter(|(_, path)| path == "/jobs/overview");
    let times: Vec<u64> = polls.map(|(at, _)| *at).collect();
    if world.restarts == 0 {
        assert!(
            times
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= options.poll_ms)
        );
    }
}

/// The runs that ended, by an overview.
fn ended(body: &str) -> Vec<Key> {
    let overview = edge_report::flink::Overview::read(body.as_bytes()).unwrap();
    let ended = overview.jobs().filter(|job| job.state.is_terminal());
    ended.map(|job| (job.jid, job.start_time)).collect()
}

const CALM: World = World {
    jobs: 100,
    calm: 20,
    slots: 110,
    minutes: 20,
    faults: 0,
    kills: 0,
    restarts: 0,
    seed: 1,
};

#[test]
fn calm() {
    simulate(&CALM);
}

#[test]
fn a_thousand_jobs() {
    simulate(&World {
        jobs: 1_000,
        calm: 200,
        slots: 1_000,
        minutes: 10,
        kills: 6,
        ..CALM
    });
}

#[test]
fn a_job_manager_that_is_killed() {
    for seed in 0..4 {
        simulate(&World {
            kills: 4,
            seed,
            ..CALM
        });
    }
}

#[test]
fn answers_that_lie() {
    for seed in 0..4 {
        simulate(&World {
            faults: 4,
            kills: 9,
            seed,
            ..CALM
        });
    }
}

#[test]
fn an_agent_that_is_killed() {
    for seed in 0..4 {
        simulate(&World {
            faults: 10,
            kills: 7,
            restarts: 3,
            seed,
            ..CALM
        });
    }
}

#[test]
fn a_table_that_is_too_small() {
    for seed in 0..4 {
        for faults in [0, 8] {
            simulate(&World {
                jobs: 60,
                slots: 40,
                faults,
                seed,
                ..CALM
            });
        }
    }
}
