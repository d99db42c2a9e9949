//! Flags, environment and file: what is wrong is refused with what to do, and no secret is told.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::agent::{Agent, command, ended, text};
use common::ca::Ca;
use common::flink::Flink;
use edge_report_receiver::{Options, Receiver};

const GOOD: [&str; 9] = [
    "check-config",
    "--flink",
    "http://127.0.0.1:8081",
    "--url",
    "https://gateway.example",
    "--project-id",
    "0a1b2c",
    "--spool",
    "spool",
];

fn assert_refused(dir: &Path, args: &[&str], why: &str) {
    let ended = ended(dir, args);
    let said = text(&ended.stderr);
    assert!(
        said.contains(why) && !said.contains("secret"),
        "{args:?}: {said}"
    );
    assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
}

#[test]
fn helps() {
    let dir = tempfile::tempdir().unwrap();
    let help = ended(dir.path(), &["--help"]);
    assert!(help.status.success() && help.stderr.is_empty(), "{help:?}");
    for said in [
        "run",
        "check-config",
        "--flink URL",
        "--once",
        "EDGE_REPORT_AGENT_SK",
        "SIGHUP",
    ] {
        assert!(text(&help.stdout).contains(said), "{said}");
    }
    let version = ended(dir.path(), &["--version"]);
    assert!(text(&version.stdout).starts_with("edge-report-agent "));
}

#[test]
fn good_settings_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let good = ended(dir.path(), &GOOD);
    assert!(good.status.success(), "{good:?}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "it made something"
    );
}

#[test]
fn each_mistake_is_told_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("text", "secret"), ("empty.pem", "")] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let (ca, other) = (Ca::new("one"), Ca::new("other"));
    fs::write(dir.path().join("cert.pem"), ca.leaf().0).unwrap();
    fs::write(dir.path().join("key.pem"), other.leaf().1).unwrap();
    let long = "n".repeat(65);
    let table: [(&[&str], &str); 36] = [
        (
            &["--pol", "7"],
            "there is no option `--pol`, but `--poll`; see --help",
        ),
        (&["--sc=secret"], "there is no option `--sc`, but `--sk`"),
        (&["--poll"], "--poll needs a value"),
        (
            &["--poll", "50"],
            "--poll `50` is not a whole number from 100",
        ),
        (&["--poll", "fast"], "--poll `fast` is not a whole number"),
        (
            &["--requests", "70000"],
            "--requests `70000` is not a whole number from 4, or too large",
        ),
        (
            &["--node", &long],
            "--node has more than 64 bytes, or control characters",
        ),
        (&["--node", "a\nb"], "--node has more than 64 bytes, or"),
        (&["--max-jobs", "70000"], "--max-jobs is 65,536 at the most"),
        (&["--node", "a", "--node", "b"], "--node stands there twice"),
        (
            &["--plan", "often"],
            "--plan `often` is none of when-new, always, never",
        ),
        (
            &["--job", "edge"],
            "--job `edge` is not NAME=ID, such as edge-temperature=99270",
        ),
        (&["--job", "edge=0"], "is not NAME=ID"),
        (
            &["--log-level", "all"],
            "--log-level `all` is none of info, error, warn, debug",
        ),
        (
            &["--flink-token", "secret", "--flink-user", "u"],
            "either --flink-user with --flink-password, or --flink-token",
        ),
        (
            &["--flink-user", "u"],
            "either --flink-user with --flink-password",
        ),
        (
            &["--flink-user", "u:v", "--flink-password", "secret"],
            "--flink-user has a colon",
        ),
        (
            &["--flink-token", "secret\n"],
            "a character that no header may have",
        ),
        (
            &["--flink-ca", "none.pem"],
            "--flink-ca none.pem: No such file",
        ),
        (
            &["--flink-ca", "text"],
            "--flink-ca text: no certificates in PEM",
        ),
        (&["--flink-ca", "empty.pem"], "no certificates in PEM"),
        (
            &["--flink-cert", "cert.pem"],
            "--flink-cert and --flink-key go together",
        ),
        (
            &["--flink-cert", "cert.pem", "--flink-key", "text"],
            "--flink-key text: no private key in PEM",
        ),
        (
            &["--flink-cert", "cert.pem", "--flink-key", "key.pem"],
            "--flink-cert cert.pem and --flink-key key.pem: ",
        ),
        (&["--cert", "cert.pem"], "--cert and --key go together"),
        (&["--ak", "a"], "either --ak with --sk"),
        (
            &["--sk", "secret", "--token", "secret"],
            "either --ak with --sk",
        ),
        (&["--ca", "text"], "neither PEM nor DER"),
        (
            &["--backlog", "some"],
            "--backlog `some` is none of all, latest",
        ),
        (
            &["--max-bytes", "7"],
            "--max-bytes `7` is not a whole number from 16384",
        ),
        (
            &["--metrics-file", "no/agent.prom"],
            "--metrics-file: there is no directory no; make it first",
        ),
        (
            &["--metrics-file", "."],
            "--metrics-file . is no file that can be replaced",
        ),
        (
            &["--metrics-file", "/dev/null"],
            "--metrics-file /dev/null is no file that can be replaced",
        ),
        (
            &["--metrics-file", "text"],
            "--metrics-file text is no file that can be replaced",
        ),
        (&["more"], "`more` is one word too many"),
        (&["--config", "none.toml"], "none.toml: No such file"),
    ];
    for (more, why) in table {
        assert_refused(dir.path(), &[&GOOD[..], more].concat(), why);
    }
    for (flink, why) in [
        (
            "127.0.0.1:8081",
            "--flink is no URL such as http://127.0.0.1:8081",
        ),
        ("ftp://flink", "it begins neither with http:// nor https://"),
        (
            "http://u:secret@flink",
            "user and password belong into --flink-user and --flink-password",
        ),
        (
            "http://flink/?a=b",
            "it needs a host, and ends with the path",
        ),
    ] {
        let args = [&["check-config", "--flink", flink][..], &GOOD[3..]].concat();
        assert_refused(dir.path(), &args, why);
    }
    let args = [
        &[
            "check-config",
            "--flink",
            "http://flink:8081",
            "--flink-token",
            "secret",
        ][..],
        &GOOD[3..],
    ];
    assert_refused(
        dir.path(),
        &args.concat(),
        "others can read passwords and tokens: give https://",
    );
    assert_refused(
        dir.path(),
        &["check-config"],
        "--flink is needed, or EDGE_REPORT_AGENT_FLINK, or `flink` in the file",
    );
    assert_refused(dir.path(), &GOOD[..7], "--spool is needed");
    assert_refused(dir.path(), &["rum"], "there is no command `rum`, but `run`");
    assert_refused(dir.path(), &[], "say what to do");
}

#[test]
fn all_three_places_have_the_same_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |content: &str| fs::write(dir.path().join("agent.toml"), content).unwrap();
    let config = ["check-config", "--config", "agent.toml"];
    write(
        "flink = \"http://127.0.0.1:8081\"\nurl = \"https://gateway.example\"\nproject-id = \"0a1b2c\"\nspool = \"spool\"\npoll = 1000\nonce = true\njob = [\"a=1\", \"b=2\"]\n",
    );
    assert!(ended(dir.path(), &config).status.success());
    for (content, why) in [
        ("polll = 7", "agent.toml: there is no `polll`, but `poll`"),
        (
            "flink = [[\"a\"]]",
            "`flink` is not a text, a number or true",
        ),
        ("a = 1\nsk = secret", "agent.toml: line 2: "),
        ("help = true", "`help` belongs on the command line"),
        ("once = \"perhaps\"", "`once` is true or false"),
        ("sk = \"\"", "`sk` is empty"),
    ] {
        write(content);
        assert_refused(dir.path(), &config, why);
    }
    let mut unknown = command(dir.path(), &GOOD);
    let unknown = unknown
        .env("EDGE_REPORT_AGENT_TOKN", "secret")
        .output()
        .unwrap();
    let said = text(&unknown.stderr);
    let why = "there is no `EDGE_REPORT_AGENT_TOKN`, but `EDGE_REPORT_AGENT_TOKEN`";
    assert!(said.contains(why) && !said.contains("secret"), "{said}");
    let mut known = command(dir.path(), &GOOD[..7]);
    let known = known
        .env("EDGE_REPORT_AGENT_SPOOL", "spool")
        .output()
        .unwrap();
    assert!(known.status.success(), "{known:?}");
}

#[test]
fn what_is_switched_on_in_the_file_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let file = "allow-plain-http = true\nflink-token = \"secret\"\n";
    fs::write(dir.path().join("agent.toml"), file).unwrap();
    let cluster = ["check-config", "--flink", "http://flink:8081"];
    let args = [&cluster[..], &GOOD[3..], &["--config", "agent.toml"]].concat();
    assert!(ended(dir.path(), &args).status.success());
    let why = "others can read passwords and tokens";
    let off = [&args[..], &["--allow-plain-http=false"]].concat();
    assert_refused(dir.path(), &off, why);
    let mut off = command(dir.path(), &args);
    let off = off.env("EDGE_REPORT_AGENT_ALLOW_PLAIN_HTTP", "false");
    let said = text(&off.output().unwrap().stderr);
    assert!(said.contains(why), "{said}");
}

#[test]
fn each_name_is_a_variable_also_beside_those_of_kubernetes() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &str, value: &str| {
        let mut command = command(dir.path(), &GOOD);
        command.env(name, value).output().unwrap()
    };
    let wrong = with("EDGE_REPORT_AGENT_SERVICE_CODE", "");
    let said = text(&wrong.stderr);
    let why = "EDGE_REPORT_AGENT_SERVICE_CODE is empty";
    assert!(said.contains(why), "{said}");
    let foreign = with("EDGE_REPORT_AGENT_SERVICE_HOST", "10.0.0.1");
    assert!(foreign.status.success(), "{foreign:?}");
}

#[test]
fn what_is_not_unicode_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    for given in [&b"--sk=secret\xff"[..], b"secret\xff"] {
        let mut command = command(dir.path(), &GOOD);
        command.arg("--sk").arg(OsStr::from_bytes(given));
        let said = text(&command.output().unwrap().stderr);
        let is_told = said.contains("not Unicode") && !said.contains("secret");
        assert!(is_told, "{said}");
    }
}

#[test]
fn sighup_takes_no_settings_with_which_it_would_not_start() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let receiver = Receiver::start(Options::new()).unwrap();
    let write = |content: &str| fs::write(dir.path().join("agent.toml"), content).unwrap();
    write("");
    let more = ["--config", "agent.toml"];
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    agent.wait_for("event=started", 1);
    let wrong = [
        "plan = \"often\"",
        "job = \"edge\"",
        "hold = \"long\"",
        "log-level = \"all\"",
    ];
    for (times, content) in (1..).zip(wrong) {
        write(content);
        agent.signal("HUP");
        agent.wait_for("event=reload-failed", times);
    }
    assert!(!agent.log().contains("event=reloaded"));
}

#[test]
fn no_secret_is_logged() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let denying = Options::new().fault("status=401@first 1".parse().unwrap());
    let receiver = Receiver::start(denying).unwrap();
    flink.job(1001, "edge");
    let secrets = [
        ("EDGE_REPORT_AGENT_FLINK_USER", "someone"),
        ("EDGE_REPORT_AGENT_FLINK_PASSWORD", "secret-of-flink"),
        ("EDGE_REPORT_AGENT_AK", "AKAKAKAK"),
        ("EDGE_REPORT_AGENT_SK", "secret-of-service"),
        ("EDGE_REPORT_AGENT_SECURITY_TOKEN", "secret-token"),
    ];
    let (cluster, url) = (flink.url(), receiver.url());
    let args = [
        "run",
        "--flink",
        &cluster,
        "--url",
        &url,
        "--project-id",
        "0a1b2c",
    ];
    let more = [
        "--spool",
        "spool",
        "--log-level",
        "debug",
        "--hold",
        "10",
        "--metrics-file",
        "m",
    ];
    let quick = &common::agent::QUICK[..];
    let mut command = command(dir.path(), &[&args[..], &more, quick].concat());
    command.envs(secrets);
    let agent = Agent::spawn(command, dir.path());
    agent.wait_for("event=held", 1);
    agent.wait_for("event=delivered", 1);
    flink.answers(500, "secret-of-flink");
    agent.wait_for("event=flink-failed", 2);
    agent.signal("HUP");
    agent.wait_for("event=reloaded", 1);
    let log = agent.log();
    // `someone:secret-of-flink`
    let basic = "c29tZW9uZTpzZWNyZXQtb2YtZmxpbms=";
    for secret in ["secret", basic] {
        assert!(!log.contains(secret), "{log}");
        assert!(
            !fs::read_to_string(dir.path().join("m"))
                .unwrap()
                .contains(secret)
        );
    }
    let sent = flink.requests().pop().unwrap();
    let header = format!("uthorization: Basic {basic}\r\n");
    assert!(sent.contains(&header), "{sent}");
    for line in log.lines() {
        assert!(
            line.starts_with("time=") && line.contains(" level=") && line.contains(" event="),
            "{line}"
        );
    }
}
