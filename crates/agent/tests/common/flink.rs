//! A cluster's REST API: what real clusters answered (`tests/vectors/flink`), and states that change when a test says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

#[derive(Default)]
struct Script {
    overview: Value,
    details: BTreeMap<String, Value>,
    exceptions: BTreeMap<String, Value>,
    metrics: BTreeMap<String, Value>,
    /// How long a response takes.
    delay: Duration,
    /// Answers everything so.
    instead: Option<(u16, String)>,
    /// More lines for each head.
    headers: String,
    /// Path and lines of the head of each request.
    requests: Vec<String>,
    connections: usize,
    /// By the job manager's clock.
    now: i64,
}

pub struct Flink {
    address: SocketAddr,
    scheme: &'static str,
    script: Arc<Mutex<Script>>,
    ends: Arc<AtomicBool>,
}

impl Flink {
    pub fn start() -> Flink {
        Flink::listen("127.0.0.1:0".parse().unwrap(), None)
    }

    pub fn secure(config: ServerConfig) -> Flink {
        Flink::listen("127.0.0.1:0".parse().unwrap(), Some(Arc::new(config)))
    }

    fn listen(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Flink {
        let listener = TcpListener::bind(address).unwrap();
        let flink = Flink {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            script: Arc::default(),
            ends: Arc::default(),
        };
        flink.script().overview = json!({"jobs": []});
        let (script, ends) = (flink.script.clone(), flink.ends.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (script, tls, ends) = (script.clone(), tls.clone(), ends.clone());
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    script.lock().unwrap().connections += 1;
                    let served = match tls {
                        None => serve(stream, &script, &ends),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            serve(StreamOwned::new(connection, stream), &script, &ends)
                        }
                    };
                    // Whoever went away is not this test's matter.
                    let _ = served;
                });
            }
        });
        flink
    }

    /// It goes away; what it knows stays.
    pub fn stop(&self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }

    /// Another at the same address, that knows the same.
    pub fn start_again(&self) -> Flink {
        let flink = Flink::listen(self.address, None);
        let mut known = self.script();
        let mut script = flink.script();
        script.overview = known.overview.take();
        script.details = std::mem::take(&mut known.details);
        script.now = known.now;
        drop(script);
        flink
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Knows what a real cluster answered.
    pub fn knows(self, capture: &str) -> Flink {
        let read = |kind: &str| -> Option<Value> {
            let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/flink");
            let text = fs::read_to_string(dir.join(format!("{capture}.{kind}.json"))).ok()?;
            Some(serde_json::from_str(&text).unwrap())
        };
        let mut script = self.script();
        script.overview = read("jobs_overview").unwrap();
        let details = read("job").unwrap();
        let jid = details["jid"].as_str().unwrap().to_owned();
        script.details.insert(jid.clone(), details);
        let mut add = |kind: &str, value: Option<Value>| match kind {
            _ if value.is_none() => {}
            "exceptions" => drop(script.exceptions.insert(jid.clone(), value.unwrap())),
            _ => drop(script.metrics.insert(jid.clone(), value.unwrap())),
        };
        add("exceptions", read("exceptions"));
        add("metrics", read("metrics_get"));
        script.now = 1_795_500_000_000;
        drop(script);
        self
    }

    /// A job that runs, under this id.
    pub fn job(&self, job_id: i64, name: &str) {
        self.set(job_id, name, "RUNNING");
    }

    /// The job is in another state from now on.
    pub fn set(&self, job_id: i64, name: &str, state: &str) {
        let mut script = self.script();
        script.now = script.now.max(1_795_500_000_000) + 1000;
        let (now, jid) = (script.now, format!("{job_id:032x}"));
        let is_end = ["FINISHED", "FAILED", "CANCELED"].contains(&state);
        let jobs = script.overview["jobs"].as_array_mut().unwrap();
        let old = jobs.iter().position(|job| job["jid"] == jid.as_str());
        let start = old.map_or(json!(now), |at| jobs.remove(at)["start-time"].take());
        let end = if is_end { now } else { -1 };
        jobs.push(
            json!({"jid": jid, "name": name, "state": state, "start-time": start, "end-time": end,
            "duration": now - start.as_i64().unwrap(), "last-modification": now,
            "tasks": {"running": u8::from(!is_end), "total": 1, "finished": u8::from(is_end)}}),
        );
        script.details.insert(
            jid.clone(),
            json!({"jid": jid, "name": name, "state": state, "start-time": start,
                "timestamps": {"RUNNING": start}, "vertices": []}),
        );
    }

    pub fn fails_with(&self, job_id: i64, exception: &str) {
        let root = json!({"root-exception": exception, "timestamp": self.script().now});
        let jid = format!("{job_id:032x}");
        self.script().exceptions.insert(jid, root);
    }

    pub fn delays(&self, delay: Duration) {
        self.script().delay = delay;
    }

    pub fn answers(&self, status: u16, body: &str) {
        self.script().instead = Some((status, body.to_owned()));
    }

    pub fn redirects_to(&self, url: &str) {
        self.script().headers = format!("Location: {url}\r\n");
        self.answers(302, "");
    }

    pub fn answers_well(&self) {
        self.script().instead = None;
    }

    pub fn requests(&self) -> Vec<String> {
        self.script().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.script().connections
    }
}

impl Drop for Flink {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: impl Read + Write, script: &Mutex<Script>, ends: &AtomicBool) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        if ends.load(Ordering::SeqCst) {
            return Ok(());
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (delay, headers, (status, body)) = {
            let mut script = script.lock().unwrap();
            script.requests.push(head);
            (script.delay, script.headers.clone(), script.response(&path))
        };
        thread::sleep(delay);
        let head = format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = stream.get_mut();
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        stream.flush()?;
    }
}

impl Script {
    fn response(&self, path: &str) -> (u16, String) {
        if let Some(instead) = &self.instead {
            return instead.clone();
        }
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/').skip(2);
        let found = match (parts.next(), parts.next()) {
            (Some("overview"), None) => Some(&self.overview),
            (Some(jid), None) => self.details.get(jid),
            (Some(jid), Some("exceptions")) => self.exceptions.get(jid),
            (Some(jid), Some("metrics")) => Some(self.metrics.get(jid).unwrap_or(&Value::Null)),
            _ => None,
        };
        match found {
            Some(Value::Null) => (200, "[]".to_owned()),
            Some(value) => (200, value.to_string()),
            None => (404, r#"{"errors":["not found"]}"#.to_owned()),
        }
    }
}
