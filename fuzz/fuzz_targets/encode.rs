//! Any report: encoded it is what serde_json writes, reads back the same, and fits its length exactly.
#![no_main]

use edge_report::{
    EncodeError, ErrorTime, ExceptionsBuf, JobBuf, JobException, JobStatus, Report, ReportBuf,
    ReportWriter, check,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    jobs: Vec<Job>,
    topic: Option<String>,
    message_id: String,
    room: u16,
}

#[derive(Arbitrary, Debug)]
struct Job {
    id: Option<i64>,
    status: Result<u8, String>,
    time: i64,
    exceptions: Option<Result<[String; 5], String>>,
    metrics: Option<String>,
    plan: Option<String>,
}

fn job(job: Job) -> JobBuf {
    let known = |n: u8| JobStatus::KNOWN[usize::from(n) % JobStatus::KNOWN.len()];
    let detail = |[error_id, error_type, error_cause, exception, error_time]: [String; 5]| {
        let mut detail = JobException::new(&error_id, &error_type, &error_cause);
        detail.exception = &exception;
        detail.error_time = ErrorTime::Text(&error_time);
        ExceptionsBuf::Detail(detail.into())
    };
    let status = match &job.status {
        Ok(n) => known(*n),
        Err(name) => JobStatus::from_name(name),
    };
    let mut owned = JobBuf::from(edge_report::Job::new(status, job.time));
    owned.job_id = job.id;
    owned.exceptions = job
        .exceptions
        .map(|e| e.map_or_else(ExceptionsBuf::Text, detail));
    owned.metrics = job.metrics;
    owned.plan = job.plan;
    owned
}

fuzz_target!(|input: Input| {
    let mut report = ReportBuf::new(input.message_id);
    report.jobs = input.jobs.into_iter().map(job).collect();
    report.msg_confirm_topic = input.topic;
    let bytes = serde_json::to_vec(&report).expect("serde_json writes any report");
    assert_eq!(report.encoded_len(), bytes.len());
    let summary = report.check(|_| {});
    assert_eq!(check(&bytes, |_| {}), summary);
    assert_eq!(
        ReportBuf::from_json(&bytes).ok().as_ref(),
        summary.is_valid().then_some(&report)
    );

    let jobs: Vec<_> = report.jobs.iter().map(JobBuf::as_job).collect();
    let mut borrowed = Report::new(&report.message_id, &jobs);
    borrowed.msg_confirm_topic = report.msg_confirm_topic.as_deref();
    let mut buffer = vec![0; bytes.len()];
    if !summary.is_valid() {
        assert!(matches!(
            borrowed.encode(&mut buffer),
            Err(EncodeError::Invalid(_))
        ));
    } else {
        assert_eq!(borrowed.encode(&mut buffer), Ok(&bytes[..]));
        let needed = bytes.len();
        let too_small = borrowed.encode(&mut buffer[..needed - 1]);
        assert_eq!(too_small, Err(EncodeError::TooSmall { needed }));
    }

    // A writer keeps the jobs it took, and no trace of the others.
    let mut buffer = vec![0; usize::from(input.room)];
    let topic = report.msg_confirm_topic.as_deref();
    if let Ok(mut writer) = ReportWriter::over(&mut buffer, topic, &report.message_id) {
        let taken: Vec<JobBuf> = (report.jobs.iter())
            .filter(|job| writer.job(&job.as_job()).is_ok())
            .cloned()
            .collect();
        if let Ok(sink) = writer.finish() {
            let mut wanted = report.clone();
            wanted.jobs = taken;
            assert_eq!(sink.written(), wanted.encode_to_vec().expect("valid"));
        } else {
            assert!(taken.is_empty());
        }
    }
});
