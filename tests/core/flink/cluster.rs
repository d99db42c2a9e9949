//! A cluster of one's own: jobs whose states a test sets, behind the REST API of Flink 1.20, with its cache of 3 s and its metrics on demand.

use std::collections::BTreeMap;
use std::fmt::Write;

use edge_report::flink::{Jid, State};

/// The wall clock at 0.
pub(crate) const EPOCH: i64 = 1_795_400_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) jid: Jid,
    pub(crate) name: String,
    pub(crate) start: i64,
    pub(crate) state: State,
    pub(crate) since: i64,
    pub(crate) has_run: bool,
    /// Failed attempts: when, and the message.
    pub(crate) failures: Vec<(i64, String)>,
    pub(crate) restarts: u32,
    pub(crate) plan: String,
}

impl Run {
    /// When it ended, and in which state.
    pub(crate) fn end(&self) -> Option<(State, i64)> {
        self.state.is_terminal().then_some((self.state, self.since))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) runs: Vec<Run>,
    /// Answers nothing.
    pub(crate) is_down: bool,
    /// What `/jobs/:jid` and its exceptions keep saying, and since when.
    cache: BTreeMap<Jid, (u64, Run)>,
    /// When metrics were fetched last, and the time before; they are there half a second later.
    fetched: [Option<u64>; 2],
}

/// A status and a body; `None`: no response.
pub(crate) type Answer = Option<(u16, String)>;

impl Cluster {
    pub(crate) fn submit(&mut self, id: i64, now: u64) -> Jid {
        let jid = Jid::of_job_id(id);
        self.runs.retain(|run| run.jid != jid);
        self.runs.push(Run {
            jid,
            name: format!("job \"{id}\""),
            start: EPOCH + now as i64,
            state: State::Initializing,
            since: EPOCH + now as i64,
            has_run: false,
            failures: Vec::new(),
            restarts: 0,
            plan: format!(r#"{{"jid":"{jid}","nodes":[{{"description":"a<br/>+- b"}}]}}"#),
        });
        jid
    }

    pub(crate) fn run(&mut self, jid: Jid) -> &mut Run {
        self.runs.iter_mut().find(|run| run.jid == jid).unwrap()
    }

    pub(crate) fn set(&mut self, jid: Jid, state: State, now: u64) {
        let run = self.run(jid);
        if run.state == State::Restarting && state == State::Running {
            run.restarts += 1;
        }
        (run.state, run.since) = (state, EPOCH + now as i64);
        run.has_run |= state == State::Running;
    }

    pub(crate) fn fail(&mut self, jid: Jid, state: State, message: &str, now: u64) {
        self.set(jid, state, now);
        let failure = (EPOCH + now as i64, message.to_owned());
        self.run(jid).failures.push(failure);
    }

    /// The job manager was killed: it knows nothing any more.
    pub(crate) fn restart(&mut self) {
        self.runs.clear();
        self.cache.clear();
        self.fetched = [None; 2];
    }

    pub(crate) fn get(&mut self, path: &str, now: u64) -> Answer {
        if self.is_down {
            return None;
        }
        if path == "/jobs/overview" {
            return Some((200, self.overview(now)));
        }
        let rest = path.strip_prefix("/jobs/").unwrap();
        let (jid, what) = rest.split_at(32);
        let jid = Jid::from_hex(jid).unwrap();
        let Some(run) = self.runs.iter().find(|run| run.jid == jid) else {
            return Some((404, format!(r#"{{"errors":["Job {jid} not found"]}}"#)));
        };
        if let Some(names) = what.strip_prefix("/metrics?get=") {
            if self.fetched[0].is_none_or(|at| at + 10_000 <= now) {
                self.fetched = [Some(now), self.fetched[0]];
            }
            let there = self.fetched.iter().flatten().find(|&&at| at + 500 <= now);
            let (then, is_there) = (
                there.copied().unwrap_or(0),
                there.is_some() && !run.state.is_terminal(),
            );
            let mut body = String::from("[");
            for name in names.split(',').filter(|_| is_there) {
                let value = match name {
                    "numRestarts" => run.restarts.to_string(),
                    "uptime" => (EPOCH + then as i64 - run.since).to_string(),
                    _ => "NaN".to_owned(),
                };
                let comma = if body.len() == 1 { "" } else { "," };
                write!(body, r#"{comma}{{"id":"{name}","value":"{value}"}}"#).unwrap();
            }
            return Some((200, body + "]"));
        }
        let (at, cached) = self.cache.entry(jid).or_insert_with(|| (now, run.clone()));
        if *at + 3_000 <= now {
            (*at, *cached) = (now, run.clone());
        }
        Some((
            200,
            match what {
                "" => details(cached),
                "/exceptions?maxExceptions=1" => exceptions(cached),
                other => panic!("nobody asks for {other}"),
            },
        ))
    }

    pub(crate) fn overview(&self, now: u64) -> String {
        let mut body = String::from(r#"{"jobs":["#);
        for run in &self.runs {
            let comma = if body.len() == 9 { "" } else { "," };
            let (end, until) = match run.end() {
                Some((_, end)) => (end, end),
                None => (-1, EPOCH + now as i64),
            };
            let running = if run.state == State::Running { 2 } else { 0 };
            let total = if run.has_run { 2 } else { 0 };
            write!(
                body,
                r#"{comma}{{"jid":"{}","name":{:?},"start-time":{},"end-time":{end},"duration":{},"state":"{}","last-modification":{},"tasks":{{"running":{running},"total":{total},"failed":0}},"pending-operators":0}}"#,
                run.jid, run.name, run.start, until - run.start, run.state, run.since,
            )
            .unwrap();
        }
        body + "]}"
    }
}

pub(crate) fn details(run: &Run) -> String {
    let end = run.end().map_or(-1, |(_, end)| end);
    let running = if run.has_run { run.start + 100 } else { 0 };
    format!(
        r#"{{"jid":"{}","name":{:?},"state":"{}","start-time":{},"end-time":{end},"timestamps":{{"RUNNING":{running},"{}":{}}},"vertices":[{{"id":"a","metrics":{{"read-records":0,"read-records-complete":true,"write-records":{},"write-records-complete":true,"accumulated-busy-time":"NaN"}}}}],"plan":{}}}"#,
        run.jid,
        run.name,
        run.state,
        run.start,
        run.state,
        run.since,
        run.start % 1000,
        run.plan,
    )
}

pub(crate) fn exceptions(run: &Run) -> String {
    let Some((time, message)) = run.failures.last() else {
        return r#"{"root-exception":null,"timestamp":null,"all-exceptions":[],"truncated":false,"exceptionHistory":{"entries":[],"truncated":false}}"#.to_owned();
    };
    let wrapper = match run.state {
        State::Failed => {
            "org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy\n\tat org.apache.flink.A.b(A.java:1)\nCaused by: "
        }
        _ => "",
    };
    let trace = format!(
        "{wrapper}java.lang.IllegalStateException: {message}\n\tat Edge.map(Edge.java:17)\n"
    );
    format!(
        r#"{{"root-exception":{trace:?},"timestamp":{time},"exceptionHistory":{{"entries":[{{"exceptionName":"x","stacktrace":{trace:?},"timestamp":{time}}}]}}}}"#
    )
}
