//! What can be set, and how `--help` tells it. One file serves all commands: each takes of it what it needs.

/// One thing that can be set.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    /// What its value is called; empty: it is only there or not.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    /// May be given again.
    pub(crate) many: bool,
}

const fn one(name: &'static str, value: &'static str, help: &'static str) -> Name {
    Name {
        name,
        value,
        help,
        many: false,
    }
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> Name {
    Name {
        many: true,
        ..one(name, value, help)
    }
}

#[rustfmt::skip]
pub(crate) const NAMES: &[Name] = &[
    one("flink", "URL", "the cluster's REST API, such as http://127.0.0.1:8081"),
    one("flink-ca", "FILE", "PEM; trust these authorities for it, and no others"),
    one("flink-cert", "FILE", "PEM; the certificate to show it, read again on SIGHUP, as are all files"),
    one("flink-key", "FILE", "PEM"),
    one("flink-user", "USER", "basic authorization"),
    one("flink-password", "PASSWORD", "secrets are better in the environment or the file of --config"),
    one("flink-token", "TOKEN", "bearer authorization"),
    one("flink-timeout", "MS", "the most a request to it may take (10,000)"),
    one("node", "NAME", "what message ids begin with; one of its own for each node (flink)"),
    one("poll", "MS", "between two looks at the cluster (5,000)"),
    one("requests", "N", "the most requests to it in that time (20)"),
    one("heartbeat", "MS", "a job that goes on is reported again after so long; 0: never (60,000)"),
    one("cache", "MS", "how long Flink answers from its cache: its web.refresh-interval (3,000)"),
    one("steady", "MS", "after so long without trouble a job counts as running again (10,000)"),
    one("max-jobs", "N", "how many jobs are watched at once (256)"),
    many("job", "NAME=ID", "report this job, by name or id in Flink, under this job_id; may be given again"),
    one("other-ids", "hash63|hash31|none", "the job_id of jobs whose id is no integer (hash63)"),
    one("plan", "when-new|always|never", "when a job's plan is reported (when-new)"),
    one("exceptions", "object|text", "the form of exceptions (object)"),
    one("exception-bytes", "N", "how much of a stack trace is reported (2,048)"),
    one("metrics", "LIST|none", "names of Flink's job metrics, separated by commas"),
    one("url", "URL", "where reports go: the service's base URL"),
    one("project-id", "ID", "the project in its path"),
    one("ak", "AK", "sign with this access key"),
    one("sk", "SK", "and this secret key"),
    one("security-token", "TOKEN", "of temporary keys"),
    one("token", "TOKEN", "send this token instead of a signature"),
    one("ca", "FILE", "trust these authorities for the service (PEM or DER), and no others"),
    one("cert", "FILE", "PEM; the certificate to show it"),
    one("key", "FILE", "PEM"),
    one("allow-plain-http", "", "http:// also to other machines"),
    one("connect-timeout", "MS", "the most a look-up, and then a connection, may take (10,000)"),
    one("tls-timeout", "MS", "the most a TLS handshake may take (30,000)"),
    one("send-timeout", "MS", "the most sending may take, and what a report's length takes at --min-rate (15,000)"),
    one("response-timeout", "MS", "the most a response may take, and the same (15,000)"),
    one("total-timeout", "MS", "the most an attempt may take in all, and the same (60,000)"),
    one("min-rate", "N", "the slowest link for long reports, in bytes a second (1,000)"),
    one("max-idle", "MS", "how long a connection that is not used is kept (90,000)"),
    many("service-code", "PREFIX", "how the service's own error codes begin, for another than DLI; up to 8 times"),
    one("spool", "DIR", "where reports wait; made if its parent is there. DIR.jobs beside it has\nwhat was reported of which job"),
    one("max-bytes", "N", "the most bytes of reports that wait (64 MiB)"),
    one("min-backoff", "MS", "the least wait after a failure (1,000)"),
    one("max-backoff", "MS", "the most (300,000)"),
    one("hold", "MS", "how long nothing is sent when credentials are wrong, and up to a tenth more (300,000)"),
    one("start-spread", "MS", "the first attempt comes at random within this time (run: 30,000)"),
    one("backlog", "all|latest", "latest: send only the newest report of each job that waits (all)"),
    one("when-letters-full", "drop|hold", "drop the oldest dead letter, or keep what is refused waiting (drop)"),
    one("metrics-file", "FILE", "how things stand, as text for Prometheus' node exporter"),
    one("log-level", "LEVEL", "error, warn, info or debug (info)"),
    one("once", "", "look once, report what is new, end when all is delivered"),
    one("dry-run", "", "print reports, a line of JSON each; store and send none"),
    one("grace", "MS", "for what is under way when it is told to end (60,000)"),
    one("config", "FILE", "TOML, with these names: flink = \"http://127.0.0.1:8081\""),
    one("version", "", "which one this is"),
    one("help", "", "this text"),
];
