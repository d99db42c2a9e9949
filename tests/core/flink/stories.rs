//! One thing at a time, told in the order of its happening.

use edge_report::flink::{
    ExceptionsAs, Jid, MappedJob, Options, OtherIds, Plan, ResponseError, Slot, State, Step, Watch,
};
use edge_report::{Code, MonoTime};

use super::host::{Host, Stored};

const QUIET: Options<'_> = Options::DEFAULT
    .with_heartbeat_ms(0)
    .with_plan(Plan::Never)
    .with_metrics("");

fn host() -> Host<'static> {
    Host::new(QUIET)
}

fn statuses(news: &[Stored]) -> Vec<String> {
    news.iter().flat_map(Stored::statuses).collect()
}

#[test]
fn a_life() {
    let mut host = host();
    host.run_until(1_000);
    let jid = host.cluster.submit(7, 1_000);
    host.run_until(6_000);
    assert_eq!(statuses(&host.news()), ["7 submitting"]);
    host.cluster.set(jid, State::Created, 6_000);
    host.run_until(11_000);
    assert!(host.news().is_empty());
    host.cluster.set(jid, State::Running, 11_000);
    host.run_until(16_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
    host.cluster.set(jid, State::Cancelling, 16_000);
    host.run_until(21_000);
    assert_eq!(statuses(&host.news()), ["7 canceling"]);
    host.cluster.set(jid, State::Canceled, 21_000);
    host.run_until(40_000);
    let news = host.news();
    assert_eq!(statuses(&news), ["7 cancel_success"]);
    assert!(news[0].is_final);
    assert!(news[0].message_id.ends_with("-CANCELED-1795400021000"));
    host.run_until(400_000);
    assert!(host.news().is_empty());
}

#[test]
fn an_end_waits_until_the_cache_is_old() {
    let mut host = Host::new(Options::default());
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    // Asked for its plan at 0: until 3 s later Flink says RUNNING, without exceptions.
    host.run_until(60_000);
    host.news();
    host.cluster.get(&format!("/jobs/{jid}"), 62_000);
    host.cluster
        .fail(jid, State::Failed, "out of range", 62_500);
    host.run_until(80_000);
    let news: Vec<Stored> = host
        .news()
        .into_iter()
        .filter(|report| report.is_final)
        .collect();
    assert_eq!(statuses(&news), ["7 running_exception"]);
    let exception = &news[0].jobs[0]["exceptions"];
    assert_eq!(
        exception["error_cause"],
        "java.lang.IllegalStateException: out of range"
    );
    assert_eq!(
        exception["exception"],
        "java.lang.IllegalStateException: out of range\n\tat Edge.map(Edge.java:17)\n"
    );
    assert_eq!(exception["error_time"], "2026-11-23 02:14:22");
    assert_eq!(exception["error_id"], "Flink.FAILED");
}

#[test]
fn a_job_that_never_ran() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.fail(jid, State::Failed, "no slots", 100);
    host.run_until(20_000);
    let news = host.news();
    assert_eq!(statuses(&news), ["7 submit_fail"]);
    assert_eq!(
        news[0].jobs[0]["exceptions"]["error_type"],
        "JOB_SUBMIT_EXCEPTION"
    );
}

#[test]
fn a_flapping_job_is_in_trouble_once() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
    for round in 0..200u64 {
        let now = 10_000 + round * 550;
        host.cluster.fail(jid, State::Restarting, "again", now);
        host.run_until(now + 50);
        host.cluster.set(jid, State::Running, now + 50);
        host.run_until(now + 550);
    }
    let news = host.news();
    assert_eq!(statuses(&news), ["7 running_exception"]);
    assert_eq!(
        news[0].jobs[0]["exceptions"]["error_id"],
        "Flink.RESTARTING"
    );
    host.run_until(140_000);
    let news = host.news();
    assert_eq!(statuses(&news), ["7 running"]);
    // Steady for 10 s, as seen by overviews.
    assert!((130_000..136_000).contains(&news[0].at), "{}", news[0].at);
}

#[test]
fn a_batch_whose_tasks_come_and_go_is_out_of_trouble() {
    let mut host = Host::new(Options::default());
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_000);
    host.cluster.fail(jid, State::Restarting, "once", 10_000);
    host.run_until(15_500);
    host.news();
    for step in 4..60u64 {
        host.cluster.set(jid, State::Running, step * 4_000);
        host.run_until(step * 4_000 + 4_000);
    }
    let news = host.news();
    assert_eq!(statuses(&news)[..2], ["7 running_exception", "7 running"]);
}

#[test]
fn trouble_between_two_polls_is_told_even_if_it_is_over() {
    let mut host = Host::new(QUIET.with_poll_ms(1_000));
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_500);
    host.news();
    host.cluster.fail(jid, State::Restarting, "once", 10_500);
    host.run_until(11_500);
    host.cluster.set(jid, State::Running, 11_500);
    host.run_until(60_000);
    assert_eq!(statuses(&host.news()), ["7 running_exception", "7 running"]);
}

#[test]
fn a_cluster_that_is_away_restarts_or_is_empty_ends_no_job() {
    let mut host = Host::new(Options::default());
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(30_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
    host.cluster.is_down = true;
    host.run_until(600_000);
    assert!(host.news().is_empty());
    assert!(!host.watch.status().is_up);
    host.cluster.is_down = false;
    let run = host.cluster.runs.clone();
    host.cluster.restart();
    host.run_until(1_200_000);
    assert!(host.news().is_empty());
    assert!(host.watch.status().is_up);
    // It comes back as it was: only told again.
    host.cluster.runs = run;
    host.run_until(1_210_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
}

#[test]
fn an_id_that_comes_back_is_another_run() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Finished, 100);
    host.run_until(20_000);
    let first = host.news();
    assert_eq!(statuses(&first), ["7 finish"]);
    host.cluster.submit(7, 20_000);
    host.cluster.set(jid, State::Running, 20_000);
    host.run_until(30_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
    host.cluster.set(jid, State::Finished, 30_000);
    host.run_until(50_000);
    let second = host.news();
    assert_eq!(statuses(&second), ["7 finish"]);
    assert_ne!(first[0].message_id, second[0].message_id);
}

#[test]
fn an_end_is_told_although_its_id_comes_back_at_once() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(11_000);
    host.news();
    host.cluster.fail(jid, State::Failed, "first", 11_000);
    host.run_until(16_000);
    // Seen, and not yet reported: now Flink knows the next run only, which fails, too.
    host.cluster.submit(7, 16_000);
    host.cluster.fail(jid, State::Failed, "second", 16_500);
    host.run_until(60_000);
    let news = host.news();
    assert_eq!(statuses(&news), ["7 running_exception", "7 submit_fail"]);
    assert!(news.iter().all(|report| report.is_final));
    assert!(
        news[0].jobs[0].get("exceptions").is_none(),
        "what failed is known of the second run alone"
    );
    assert_eq!(news[0].jobs[0]["create_time"], 1_795_400_000_000i64);
}

#[test]
fn ends_of_ids_that_come_back_do_not_wait_for_requests() {
    let mut host = Host::new(QUIET.with_requests(4));
    for round in 0..4u64 {
        for id in 1..=16 {
            let jid = host.cluster.submit(id, host.now);
            host.cluster.fail(jid, State::Failed, "again", host.now);
        }
        host.run_until((round + 1) * 15_000);
    }
    host.run_until(200_000);
    assert_eq!(statuses(&host.news()).len(), 4 * 16);
}

#[test]
fn old_overviews_change_nothing() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_000);
    let old = host.cluster.overview(10_000);
    host.cluster.set(jid, State::Finished, 10_500);
    host.run_until(30_000);
    assert_eq!(statuses(&host.news()), ["7 running", "7 finish"]);
    host.run_with(60_000, |_, _, _| Some((200, old.clone())));
    assert!(host.news().is_empty());
    // From before the present run, twice: not believed. Three times in a row: the clock was set back.
    host.cluster.submit(7, 60_000);
    host.cluster.set(jid, State::Running, 60_000);
    host.run_until(70_000);
    assert_eq!(statuses(&host.news()), ["7 running"]);
    for round in 0..6u64 {
        let mut is_old = 0;
        host.run_with(90_000 + round * 20_000, |_, _, answer| {
            is_old += 1;
            if is_old < 3 {
                Some((200, old.clone()))
            } else {
                answer
            }
        });
    }
    assert_eq!(host.told(), Vec::<Vec<String>>::new());
    host.run_with(220_000, |_, _, _| Some((200, old.clone())));
    assert_eq!(statuses(&host.news()), ["7 running"]);
}

#[test]
fn a_full_store() {
    let mut host = Host::new(Options::default());
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    let other = host.cluster.submit(8, 0);
    host.cluster.set(other, State::Running, 0);
    host.is_full = true;
    host.run_until(30_000);
    // Not more often than once an overview.
    assert!(
        (3..=7).contains(&host.offered.len()),
        "{}",
        host.offered.len()
    );
    host.cluster
        .fail(jid, State::Failed, "out of range", 30_000);
    host.run_until(60_000);
    // The job manager forgets the job: what is to be stored stays as it is.
    host.cluster.restart();
    host.run_until(120_000);
    let last = host.offered.last().unwrap().clone();
    let ends: Vec<&Vec<u8>> = host
        .offered
        .iter()
        .filter(|bytes| bytes.windows(6).any(|w| w == b"FAILED"))
        .collect();
    assert!(ends.len() > 10 && ends.iter().all(|bytes| **bytes == last));
    host.is_full = false;
    host.run_until(130_000);
    let news = host.news();
    assert_eq!(news[0].bytes, last);
    assert_eq!(statuses(&news), ["7 running_exception", "8 running"]);
}

#[test]
fn restarts_of_the_agent() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    let other = host.cluster.submit(8, 0);
    host.cluster.set(other, State::Running, 0);
    host.run_until(10_000);
    host.cluster
        .fail(jid, State::Failed, "out of range", 10_000);
    let before_end = host.saved();
    host.run_until(30_000);
    let end = host.news().pop().unwrap();
    assert!(end.is_final && host.watch.needs_saving());
    let kept = host.saved();
    // What is known is not told again.
    host.start_anew(QUIET, &kept);
    host.run_until(60_000);
    assert!(host.news().is_empty());
    // A table from before: the end has the same bytes, and so the same message id.
    host.start_anew(QUIET, &before_end);
    host.run_until(90_000);
    let again = host.news();
    assert_eq!(statuses(&again), ["7 running_exception"]);
    assert_eq!(again[0].bytes, end.bytes);
    // No table at all: likewise.
    host.watch = Watch::new(vec![Slot::EMPTY; 16], vec![0; 8192], QUIET);
    host.run_until(120_000);
    let again = host.news();
    assert_eq!(statuses(&again), ["8 running", "7 running_exception"]);
    assert_eq!(again[1].bytes, end.bytes);
    assert_ne!(
        again[0].message_id,
        host.stored.first().map_or("", |first| &first.message_id)
    );
}

#[test]
fn a_kept_end_is_told_although_the_cluster_has_forgotten_it() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(11_000);
    host.news();
    host.cluster.set(jid, State::Finished, 11_000);
    // Seen, and not yet reported.
    host.run_until(16_000);
    assert!(host.news().is_empty() && host.watch.needs_saving());
    let kept = host.saved();
    host.cluster.restart();
    host.start_anew(QUIET, &kept);
    host.run_until(60_000);
    assert_eq!(statuses(&host.news()), ["7 finish"]);
}

#[test]
fn kept_tables_that_are_none() {
    let mut host = host();
    for id in 1..9 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    host.run_until(10_000);
    let kept = host.saved();
    let now = MonoTime::from_ms(0);
    let mut watch = Watch::new([Slot::EMPTY; 16], [0; 64], QUIET);
    assert_eq!(watch.restore(&kept, now), Ok(()));
    assert_eq!(watch.status().jobs, 8);
    for len in 0..kept.len() {
        let error = watch.restore(&kept[..len], now).unwrap_err();
        assert_eq!(error.code(), Code::FlinkTable);
        assert_eq!(watch.status().jobs, 0);
    }
    for place in 0..kept.len() {
        let mut damaged = kept.clone();
        damaged[place] ^= 1;
        assert!(watch.restore(&damaged, now).is_err());
    }
    // Fewer slots: as many as fit.
    let mut small = Watch::new([Slot::EMPTY; 3], [0; 64], QUIET);
    assert_eq!(small.restore(&kept, now), Ok(()));
    assert_eq!(small.status().jobs, 3);
    let mut out = vec![0; small.saved_len() - 1];
    assert!(small.save(&mut out).is_err());
}

#[test]
fn a_stop_that_the_agent_asked_for() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    assert!(!host.watch.stop_asked(jid));
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_000);
    assert!(host.watch.stop_asked(jid));
    let kept = host.saved();
    host.start_anew(QUIET, &kept);
    host.cluster.set(jid, State::Finished, 10_000);
    host.run_until(30_000);
    assert_eq!(statuses(&host.news()), ["7 running", "7 cancel_success"]);
}

#[test]
fn states_that_say_nothing() {
    let mut host = host();
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(10_000);
    host.news();
    for state in [State::Suspended, State::Reconciling, State::Unknown] {
        host.cluster.set(jid, state, host.now);
        host.run_until(host.now + 20_000);
        assert!(host.news().is_empty(), "{state}");
    }
    // Waiting for resources once it ran is trouble.
    host.cluster.set(jid, State::Created, host.now);
    host.run_until(host.now + 20_000);
    assert_eq!(statuses(&host.news()), ["7 running_exception"]);
}

#[test]
fn ids() {
    let mapped = [
        MappedJob {
            job: "job \"8\"",
            job_id: 800,
        },
        MappedJob {
            job: "86e800e9cadd207fdd53824a4d38f79c",
            job_id: 900,
        },
        MappedJob {
            job: "job \"10\"",
            job_id: 0,
        },
    ];
    let options = QUIET.with_mapped(&mapped);
    let mut host = Host::new(options);
    for id in 7..=12 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    let random = |hex| Jid::from_hex(hex).unwrap();
    host.cluster.runs[2].jid = random("86e800e9cadd207fdd53824a4d38f79c");
    host.cluster.runs[4].jid = random("0000000000000000ffffffffffffffff");
    host.cluster.runs[5].jid = random("00000000000000000000000080000000");
    let mut told = |options| {
        host.watch = Watch::new(vec![Slot::EMPTY; 16], vec![0; 64], options);
        host.run_until(host.now + 10_000);
        let news = host.news();
        let ids = news[0].jobs.iter().map(|job| job["job_id"].as_i64());
        ids.collect::<Vec<_>>()
    };
    let by_63 = told(options);
    assert_eq!(by_63[..4], [Some(7), Some(800), Some(900), None]);
    assert!(by_63[4].is_some_and(|id| id > i64::from(i32::MAX)));
    assert_eq!(by_63[5], Some(0x8000_0000));
    let by_31 = told(options.with_other_ids(OtherIds::Hash31));
    assert_eq!(by_31[..4], by_63[..4]);
    assert!(
        by_31[4..]
            .iter()
            .all(|id| (1..=i64::from(i32::MAX)).contains(&id.unwrap()))
    );
    let none = told(options.with_other_ids(OtherIds::None));
    assert_eq!(
        none,
        [Some(7), Some(800), Some(900), None, None, Some(0x8000_0000)]
    );
}

#[test]
fn heartbeats_with_metrics_and_the_plan_once() {
    let mut host = Host::new(Options::default().with_metrics("numRestarts, uptime,missing"));
    let jid = host.cluster.submit(7, 0);
    host.cluster.set(jid, State::Running, 0);
    host.run_until(59_000);
    let first = host.news();
    assert_eq!(statuses(&first), ["7 running"]);
    assert!(
        first[0].jobs[0]["plan"]
            .as_str()
            .unwrap()
            .starts_with(r#"{"jid":"#)
    );
    assert!(first[0].jobs[0].get("metrics").is_none());
    host.run_until(190_000);
    let beats = host.news();
    assert_eq!(statuses(&beats), ["7 running"; 3]);
    // As they were a second ago, when they were asked for.
    let metrics = beats[1].jobs[0]["metrics"].as_str().unwrap();
    let asked = beats[1].at - 1_003;
    assert_eq!(
        metrics,
        format!(
            r#"{{"numRestarts":0,"uptime":{asked},"read-records":0,"write-records":0,"tasks-running":2,"tasks-total":2}}"#
        )
    );
    assert!(beats.iter().all(|beat| beat.jobs[0].get("plan").is_none()));
    let ids: std::collections::BTreeSet<_> = beats.iter().map(|beat| &beat.message_id).collect();
    assert_eq!(ids.len(), 3);
    // The plan changes.
    host.cluster.run(jid).plan = r#"{"nodes":[1]}"#.to_owned();
    host.run_until(330_000);
    let plans: Vec<_> = host
        .news()
        .iter()
        .filter_map(|beat| beat.jobs[0].get("plan").cloned())
        .collect();
    assert_eq!(plans, [r#"{"nodes":[1]}"#]);
    // Ended: what the job has read and written, and no plan.
    host.cluster.set(jid, State::Finished, 330_000);
    host.run_until(350_000);
    let end = host.news().pop().unwrap();
    assert_eq!(
        end.jobs[0]["metrics"],
        r#"{"duration":330000,"read-records":0,"write-records":0}"#
    );
    assert!(end.jobs[0].get("plan").is_none());
}

#[test]
fn plans_as_chosen() {
    for (plan, expected) in [(Plan::Never, 0), (Plan::Always, 4)] {
        let mut host = Host::new(Options::default().with_plan(plan));
        let jid = host.cluster.submit(7, 0);
        host.cluster.set(jid, State::Running, 0);
        host.run_until(125_000);
        host.cluster.set(jid, State::Finished, 125_000);
        host.run_until(150_000);
        let news = host.news();
        assert_eq!(news.len(), 4);
        let plans = news
            .iter()
            .filter(|report| report.jobs[0].get("plan").is_some());
        assert_eq!(plans.count(), expected);
    }
}

#[test]
fn exceptions_as_text_and_cut() {
    let options = QUIET
        .with_exceptions(ExceptionsAs::Text)
        .with_exception_bytes(49);
    let mut host = Host::new(options);
    let jid = host.cluster.submit(7, 0);
    // 漢 would end at byte 50.
    host.cluster
        .fail(jid, State::Failed, "12345678901234漢字", 0);
    host.run_until(20_000);
    let text = host.news()[0].jobs[0]["exceptions"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(text, "java.lang.IllegalStateException: 12345678901234");
}

#[test]
fn texts_without_room() {
    // No room at all: statuses are told all the same, and ends.
    let mut host = Host::sized(Options::default(), 16, 0);
    for id in 1..=10 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    host.run_until(70_000);
    assert!(host.told().iter().map(Vec::len).sum::<usize>() >= 20);
    host.news();
    host.cluster
        .fail(Jid::of_job_id(3), State::Failed, "out of range", 70_000);
    host.run_until(90_000);
    assert_eq!(
        statuses(
            &host
                .news()
                .into_iter()
                .filter(|report| report.is_final)
                .collect::<Vec<_>>()
        ),
        ["3 running_exception"]
    );

    // Room for some: the others go into reports of their own, with all of their texts.
    let mut host = Host::sized(Options::default().with_requests(100), 16, 700);
    for id in 1..=10 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    host.run_until(10_000);
    let news = host.news();
    assert!(news.len() > 1);
    assert_eq!(statuses(&news).len(), 10);
    assert!(
        news.iter()
            .flat_map(|report| &report.jobs)
            .all(|job| job.get("plan").is_some())
    );
}

#[test]
fn the_table_without_room() {
    let mut host = Host::sized(QUIET, 4, 4096);
    let mut ended = Vec::new();
    for id in 1..=40 {
        let jid = host.cluster.submit(id, host.now);
        host.cluster.set(jid, State::Running, host.now);
        host.run_until(host.now + 6_000);
        host.cluster.set(jid, State::Finished, host.now);
        host.run_until(host.now + 10_000);
        ended.push(format!("{id} finish"));
    }
    // All are still listed, and each was told once.
    let ends: Vec<String> = host
        .stored
        .iter()
        .filter(|report| report.is_final)
        .flat_map(Stored::statuses)
        .collect();
    assert_eq!(ends, ended);
    let kept = host.saved();
    host.start_anew(QUIET, &kept);
    host.news();
    host.run_until(host.now + 60_000);
    assert!(host.news().is_empty());

    // More that run than there is room for: as many as fit, and the others when there is room.
    let mut host = Host::sized(QUIET, 4, 4096);
    for id in 1..=9 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    host.run_until(20_000);
    assert_eq!(host.watch.status().unwatched, 5);
    assert_eq!(statuses(&host.news()).len(), 4);
    for id in 1..=9 {
        host.cluster
            .set(Jid::of_job_id(id), State::Finished, 20_000);
    }
    host.run_until(200_000);
    let mut ends = statuses(&host.news());
    ends.retain(|status| status.ends_with("finish"));
    ends.sort();
    assert_eq!(ends.len(), 9);
    ends.dedup();
    assert_eq!(ends.len(), 9);
}

#[test]
fn many_finished_jobs_at_the_first_sight() {
    let mut host = Host::sized(QUIET, 8, 4096);
    for id in 1..=100 {
        let jid = host.cluster.submit(id, 0);
        // Not in the order of the list.
        host.cluster
            .set(jid, State::Finished, 1_000 + (id as u64 * 37) % 100);
    }
    host.run_until(400_000);
    let mut ends = statuses(&host.news());
    assert_eq!(ends.len(), 100);
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 100);
    assert_eq!(host.watch.status().unwatched, 0);
}

#[test]
fn an_end_whose_details_cannot_be_had_is_told_without() {
    let cases: [(&str, Option<(u16, &str)>); 5] = [
        ("gone", Some((404, r#"{"errors":["not found"]}"#))),
        ("broken", Some((500, "<html>"))),
        ("cut", Some((200, r#"{"jid":"00"#))),
        (
            "another's",
            Some((
                200,
                r#"{"jid":"00000000000000000000000000000008","state":"FAILED"}"#,
            )),
        ),
        ("silent", None),
    ];
    for (name, answer) in cases {
        let mut host = host();
        let jid = host.cluster.submit(7, 0);
        host.cluster.set(jid, State::Running, 0);
        host.run_until(10_000);
        host.news();
        host.cluster
            .fail(jid, State::Failed, "out of range", 10_000);
        let twist = |_: u64, path: &str, whole| {
            if path == "/jobs/overview" {
                whole
            } else {
                answer.map(|(status, body)| (status, body.to_owned()))
            }
        };
        host.run_with(300_000, twist);
        assert_eq!(statuses(&host.news()), ["7 running_exception"], "{name}");
    }
}

#[test]
fn one_timeout_is_enough_for_an_interval() {
    let mut host = Host::new(Options::default());
    for id in 1..=100 {
        let jid = host.cluster.submit(id, 0);
        host.cluster.set(jid, State::Running, 0);
    }
    host.latency = 2_000;
    let silent = |_: u64, path: &str, whole| {
        if path == "/jobs/overview" {
            whole
        } else {
            None
        }
    };
    host.run_with(300_000, silent);
    let overviews = host
        .asked
        .iter()
        .filter(|(_, path)| path == "/jobs/overview")
        .count();
    assert!(
        host.asked.len() <= 2 * overviews + 1,
        "{} of {overviews}",
        host.asked.len()
    );
}

#[test]
fn what_was_not_asked_is_no_answer() {
    let mut watch = Watch::new([Slot::EMPTY; 4], [0; 64], QUIET);
    let now = MonoTime::from_ms(0);
    let body = br#"{"jobs":[]}"#;
    assert_eq!(watch.response(200, body, now), Err(ResponseError::NotAsked));
    watch.failed(now);
    watch.reported(true);
    assert!(matches!(watch.next(now), Step::Get("/jobs/overview")));
    assert_eq!(
        watch.response(503, body, now),
        Err(ResponseError::Status(503))
    );
    assert_eq!(watch.response(200, body, now), Err(ResponseError::NotAsked));
    assert!(matches!(watch.next(now), Step::Wait(at) if at.ms() == 5_000));
    let later = MonoTime::from_ms(5_000);
    assert!(matches!(watch.next(later), Step::Get(_)));
    let error = watch
        .response(200, br#"{"jobs":[{"jid":"7"}]}"#, later)
        .unwrap_err();
    assert_eq!(error.code(), Code::FlinkJobId);
    assert_eq!(
        error.to_string(),
        "jid: not a Flink job id of 32 hex digits (byte 16)"
    );
}

#[test]
fn names_of_metrics_in_a_path() {
    let many = "uptime,".repeat(200);
    for (metrics, query) in [
        ("a,b c, ,%&,é", "a,b%20c,%25%26,%C3%A9".to_owned()),
        (&many, vec!["uptime"; 57].join(",")),
    ] {
        let mut host = Host::new(QUIET.with_metrics(metrics).with_heartbeat_ms(1_000));
        let jid = host.cluster.submit(7, 0);
        host.cluster.set(jid, State::Running, 0);
        host.run_until(10_000);
        let path = host
            .asked
            .iter()
            .find(|(_, path)| path.contains("metrics"))
            .unwrap();
        assert_eq!(path.1, format!("/jobs/{jid}/metrics?get={query}"));
    }
}

#[test]
fn heartbeats_of_many_jobs_share_the_requests() {
    for (jobs, requests_a_minute, with_metrics_a_minute) in
        [(50u64, 112..130, 50), (1_000, 220..241, 100)]
    {
        let mut host = Host::sized(Options::default().with_plan(Plan::Never), 1_000, 65_536);
        for id in 1..=jobs {
            let jid = host.cluster.submit(id as i64, 0);
            host.cluster.set(jid, State::Running, 0);
        }
        host.run_until(300_000);
        host.news();
        host.asked.clear();
        host.run_until(900_000);
        let asked = host.asked.len() / 10;
        let news = host.news();
        let mut last = std::collections::BTreeMap::new();
        let mut with_metrics = 0;
        for report in &news {
            for job in &report.jobs {
                let id = job["job_id"].as_u64().unwrap();
                let before = last.insert(id, report.at).unwrap_or(300_000);
                assert!(
                    report.at - before <= 100_000,
                    "{id} was silent from {before} to {}",
                    report.at
                );
                let metrics = job["metrics"].as_str().unwrap();
                with_metrics += u64::from(metrics.contains("uptime"));
            }
        }
        assert_eq!(last.len() as u64, jobs);
        assert!(requests_a_minute.contains(&asked), "{asked}");
        assert!(with_metrics / 10 >= with_metrics_a_minute, "{with_metrics}");
    }
}
