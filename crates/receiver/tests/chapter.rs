//! The chapter docs/receiver.md, run as its readers run it, but for ports and addresses. `cargo test --workspace` builds the example that reports; before this alone
//! say `cargo build -p examples --examples`.
#![cfg(all(unix, feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::postgres::{Server, installed};
use common::program::{Program, command, example};
use rcgen::{CertificateParams, KeyPair};

/// tests/docs.py looks here for who runs "docs/receiver.md".
const CHAPTER: &str = include_str!("../../../docs/receiver.md");

/// As it stands in the chapter.
const ADDRESS: &str = "postgres://receiver:a-password@127.0.0.1/reports";

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let parts = CHAPTER.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

/// A line as a shell splits it. The chapter has no more than these.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    assert!(
        !line.contains(['|', '&', ';', '<', '>', '$', '\\']),
        "{line}"
    );
    words
}

#[test]
fn its_commands_run() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    let directory = server.directory().to_str().unwrap();
    let address = format!(
        "postgres://receiver:a-password@{}/reports",
        directory.replace('/', "%2F")
    );
    let mut receiver: Option<Program> = None;
    let mut accepted = 0;
    for line in blocks("sh").into_iter().flat_map(str::lines) {
        let words: Vec<String> = words(line)
            .into_iter()
            .map(|word| word.replace(ADDRESS, &address))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            // Whoever runs this has it: tests/run sees to it.
            ["apt-get", "install", "--yes", "postgresql"] => {}
            ["runuser", "-u", "postgres", "--", "psql", ..] => {
                let mut psql = Command::new(installed("psql"));
                succeeds(
                    psql.args(["-h", directory, "-U", "postgres"])
                        .args(&words[5..]),
                );
            }
            [
                "cargo",
                "run",
                "--release",
                "-p",
                "edge-report-receiver",
                "--features",
                "program",
                "--",
                ..,
            ] => {
                receiver = Some(Program::start(dir.path(), &words[8..]));
            }
            [
                "cargo",
                "run",
                "-p",
                "examples",
                "--example",
                "quickstart",
                "--",
                "--url",
                "http://127.0.0.1:8087",
                ..,
            ] => {
                let mut quickstart = example("quickstart");
                let url = receiver.as_ref().unwrap().url();
                let said = succeeds(quickstart.args(["--url", url]).args(&words[9..]));
                assert!(said.contains("accepted: 200"), "{said}");
                accepted += 1;
            }
            ["sqlite3", ..] => {
                succeeds(
                    Command::new("sqlite3")
                        .args(&words[1..])
                        .current_dir(dir.path()),
                );
                assert!(dir.path().join("copy.db").exists());
            }
            ["pg_dump", ..] => {
                succeeds(
                    Command::new(installed("pg_dump"))
                        .args(&words[1..])
                        .current_dir(dir.path()),
                );
                assert!(dir.path().join("copy.dump").exists());
            }
            _ => panic!("a command that no test knows: {line}"),
        }
    }
    assert_eq!(accepted, 2);
    assert!(dir.path().join("edge-report.db").exists());

    // Citus stands in for itself by what it asks of a table: that each unique key has the column.
    let citus = "CREATE FUNCTION create_distributed_table(t regclass, c text, colocate_with text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM pg_index i WHERE indrelid = t AND indisunique AND NOT EXISTS
                (SELECT FROM pg_attribute WHERE attrelid = t AND attname = c AND attnum = ANY (i.indkey)))
            THEN RAISE 'a unique key without it'; END IF;
        END $$;";
    let distributed = [citus, &blocks("sql").concat()].concat();
    let mut psql = Command::new(installed("psql"));
    succeeds(psql.args([
        "-h",
        directory,
        "-U",
        "postgres",
        "-d",
        "reports",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        &distributed,
    ]));
}

fn succeeds(command: &mut Command) -> String {
    let ended = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(ended.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn its_settings_are_right() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["receiver.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    write(dir.path(), "cert.pem", &certificate.pem());
    write(dir.path(), "key.pem", &key.serialize_pem());
    let [settings] = blocks("toml")[..] else {
        panic!("one file of settings")
    };
    let [keys] = blocks("text")[..] else {
        panic!("one file of keys")
    };
    write(dir.path(), "receiver.toml", settings);
    write(dir.path(), "keys", keys);
    succeeds(&mut command(
        dir.path(),
        &["check-config", "--config", "receiver.toml"],
    ));
}

fn write(dir: &Path, name: &str, content: &str) {
    fs::write(dir.join(name), content).unwrap();
}
