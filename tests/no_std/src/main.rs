//! Links the core without std and without a heap, then runs it. The panic handler calls a function that
//! does not exist: a panic that the optimiser cannot rule out is a link error.
#![no_std]
#![no_main]

use core::hint::black_box;

use edge_report::courier::{
    Backlog, Courier, Event, Policy, RamOutbox, Step, Verdict, WhenLettersFull,
};
use edge_report::exchange::{Credentials, Endpoint, Outcome, ReplyHeaders, Request, read_reply};
use edge_report::flink::{Failure, Options, Plan, Slot, Step as FlinkStep, Watch, read_plan};
use edge_report::json::SliceSink;
use edge_report::{
    Encode, Exceptions, Job, JobException, JobStatus, MonoTime, Report, ReportWriter, WallTime,
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn a_panic_is_reachable_in_the_core() -> !;
    }
    a_panic_is_reachable_in_the_core()
}

#[link(name = "c")]
unsafe extern "C" {}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    match run() {
        Some(()) => 0,
        None => 1,
    }
}

fn run() -> Option<()> {
    let ms = black_box(1_591_104_868_201);
    let detail = JobException::new("Agent.51000", "JOB_SUBMIT_EXCEPTION", "cause").at(ms);
    let jobs = [Job::new(JobStatus::SUBMIT_FAIL, ms)
        .with_job_id(black_box(99270))
        .with_exceptions(Exceptions::Detail(detail))
        .with_metrics(black_box("{\"a\":1}"))];
    let report = Report::new(black_box("uuid"), &jobs).with_topic("topic");
    let mut buffer = [0; 512];
    let len = report.encode(&mut buffer).ok()?.len();
    let body = black_box(&buffer).get(..len)?;
    let mut findings = 0;
    edge_report::check(body, |finding| {
        findings += 1;
        black_box(finding.suggestion(body));
    });
    (findings == 0 && len == report.encoded_len()).then_some(())?;

    let mut second = [0; 512];
    let mut writer = ReportWriter::over(&mut second, Some("topic"), black_box("uuid")).ok()?;
    writer.job(jobs.first()?).ok()?;
    (writer.finish().ok()?.into_written() == body).then_some(())?;

    let mut third = [0; 512];
    let mut sink = SliceSink::new(&mut third);
    edge_report::canonical_into(body, &mut sink).ok()?;
    (sink.into_written() == body).then_some(())?;

    let endpoint = Endpoint::new(black_box("https://gateway.example:8443/x"), "project").ok()?;
    let credentials = Credentials::keys(black_box("AK"), black_box("SK"));
    let mut scratch = [0; 512];
    let now = WallTime::from_unix_ms(ms);
    let request = Request::new(&endpoint, &credentials, body, now, &mut scratch).ok()?;
    (request.headers().len() == 5).then_some(())?;

    let headers = ReplyHeaders::default()
        .with_retry_after(black_box("120"))
        .with_date(black_box("Tue, 02 Jun 2020 13:34:28 GMT"));
    let reply = read_reply(
        black_box(200),
        headers,
        black_box(b"{\"is_success\":\"true\"}"),
    );
    let skew = reply.clock_skew_ms(now)?;
    (reply.outcome == Outcome::Accepted && skew == -201).then_some(())?;
    deliver(&report, Event::from_reply(&reply, now))?;
    watch()
}

/// A cluster watched: an end with its exception, a job that runs, and the table kept.
fn watch() -> Option<()> {
    let options = Options::default()
        .with_plan(black_box(Plan::Always))
        .with_metrics(black_box("uptime,odd name"));
    let mut watch = Watch::new([Slot::EMPTY; 4], [0; 1024], options);
    let mut now = MonoTime::from_ms(black_box(0));
    let (mut ends, mut others, mut kept) = (0, 0, [0; 512]);
    for _ in 0..64 {
        let body: &[u8] = match watch.next(now) {
            FlinkStep::Wait(until) => {
                now = until;
                continue;
            }
            FlinkStep::Report(draft) => {
                let mut buffer = [0; 2048];
                draft
                    .report()
                    .encode_into(&mut SliceSink::new(&mut buffer))
                    .ok()?;
                ends += i32::from(draft.is_final);
                others += i32::from(!draft.is_final);
                watch.reported(black_box(true));
                continue;
            }
            FlinkStep::Get("/jobs/overview") => OVERVIEW,
            FlinkStep::Get(path) if path.ends_with("/exceptions?maxExceptions=1") => EXCEPTIONS,
            FlinkStep::Get(path) if path.ends_with("/metrics?get=uptime,odd%20name") => METRICS,
            FlinkStep::Get(path) if path.ends_with("3e9") => RUNNING,
            FlinkStep::Get(_) => FAILED,
        };
        watch.response(black_box(200), black_box(body), now).ok()?;
    }
    watch.failed(now);
    let len = watch.save(&mut kept).ok()?;
    watch.restore(black_box(kept.get(..len)?), now).ok()?;
    let plan = read_plan(black_box(RUNNING)).ok()??;
    let errors = black_box(br#"{"errors":["no such job"]}"#);
    let mut cause = [0; 16];
    let cause = Failure::read_errors(errors).ok()??.cause(&mut cause);
    let status = watch.status();
    (ends == 1 && others > 1 && status.jobs == 2 && plan.len() == 12 && cause == "no such job")
        .then_some(())
}

const OVERVIEW: &[u8] = br#"{"jobs":[{"jid":"000000000000000000000000000003e9","name":"a","state":"RUNNING","start-time":1795401190678,"end-time":-1,"duration":4227},
  {"jid":"000000000000000000000000000003ea","name":"b","state":"FAILED","start-time":1795401196385,"end-time":1795401197594}]}"#;
const RUNNING: &[u8] =
    br#"{"jid":"000000000000000000000000000003e9","state":"RUNNING","plan":{"nodes":[]}}"#;
const FAILED: &[u8] = br#"{"jid":"000000000000000000000000000003ea","state":"FAILED","timestamps":{"RUNNING":1795401196405}}"#;
const EXCEPTIONS: &[u8] = br#"{"root-exception":"java.lang.IllegalStateException: out of range\n\tat Edge.map(Edge.java:17)","timestamp":1795401197579}"#;
const METRICS: &[u8] = br#"[{"id":"uptime","value":"2063"},{"id":"odd name","value":"NaN"}]"#;

/// Through the courier and back: a failure, an acceptance, a refusal, and the letter of that.
fn deliver(report: &Report<'_>, answer: Event) -> Option<()> {
    let outbox = RamOutbox::new([0; 4096], 4096);
    let policy = Policy::default()
        .with_backlog(black_box(Backlog::LatestPerJob))
        .with_when_letters_full(black_box(WhenLettersFull::DropOldest));
    let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime::from_ms(0), black_box(7));
    let wall = Some(WallTime::from_unix_ms(black_box(1_591_104_868_201)));
    let ticket = courier.submit(report, MonoTime::from_ms(0), wall).ok()?;
    (courier.oldest().ok()? == wall).then_some(())?;
    let later = MonoTime::from_ms(black_box(60_000));
    let Ok(Step::Send(outgoing)) = courier.next(later) else {
        return None;
    };
    (outgoing.ticket == ticket).then_some(())?;
    let failure = black_box(Event::NOT_SENT.with_text("connection refused"));
    let again = courier.settle(ticket, failure, later, black_box(9)).ok()?;
    let Verdict::Again { at, reason } = again else {
        return None;
    };
    (reason.text() == "connection refused").then_some(())?;
    let Ok(Step::Send(_)) = courier.next(at) else {
        return None;
    };
    let verdict = courier.settle(ticket, answer, at, black_box(11)).ok()?;
    (verdict == Verdict::Delivered).then_some(())?;

    let ticket = courier.submit(report, at, None).ok()?;
    courier.wake(at);
    let Ok(Step::Send(_)) = courier.next(at) else {
        return None;
    };
    let refusal = black_box(Event::response(Outcome::Refused, 422));
    let verdict = courier.settle(ticket, refusal, at, black_box(13)).ok()?;
    (verdict == Verdict::Refused(refusal.reason)).then_some(())?;
    let (letter, _) = courier.find_dead_letter(ticket).ok()??;
    (letter.reason.status == 422).then_some(())?;
    let again = courier.resubmit_dead_letter(None, at, None).ok()??;
    (again > ticket && courier.dead_letter(None).ok()?.is_none()).then_some(())?;
    courier.forget_dead_letter(ticket).ok()?;
    courier.forget_dead_letters(ticket).ok()?;
    let status = courier.status();
    (courier.take_dead_letter().is_none() && status.waiting == 1 && status.counters.delivered == 1)
        .then_some(())
}
