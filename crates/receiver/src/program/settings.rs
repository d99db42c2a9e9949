//! Settings, by name: from the command line, else from the environment, else from the file of `--config`. All three have the same names and values.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;

/// Before each name in the environment, where `-` is `_`.
const PREFIX: &str = "EDGE_REPORT_RECEIVER_";

/// One thing that can be set.
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// What its value is called; empty: it is only there or not.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    /// May be given again.
    many: bool,
}

const fn one(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        help,
        many: false,
    }
}

pub(super) const SETTINGS: [Setting; 22] = [
    one(
        "listen",
        "ADDR:PORT",
        "default 127.0.0.1:8087; port 0 is any free one",
    ),
    one(
        "store",
        "STORE",
        "sqlite:FILE, postgres://USER:PASSWORD@HOST/DATABASE or memory;\ndefault sqlite:edge-report.db, with --record or --fault memory",
    ),
    one(
        "retention",
        "DAYS",
        "reports are removed when they are older; default: never",
    ),
    one(
        "keys",
        "FILE",
        "who may report: lines `PROJECT key AK SK` or `PROJECT token TOKEN`,\nwhere PROJECT may be *; read again on SIGHUP",
    ),
    one("ak", "AK", "this key pair may report to any project"),
    one(
        "sk",
        "SK",
        "better in the environment or a file, where others do not see it",
    ),
    one(
        "read-token",
        "TOKEN",
        "for who looks: Authorization: Bearer TOKEN; default: none on a loopback\naddress, and elsewhere nobody looks",
    ),
    one(
        "tls-cert",
        "FILE",
        "PEM; read again on SIGHUP, as is each file of PEM",
    ),
    one("tls-key", "FILE", "PEM"),
    one(
        "client-ca",
        "FILE",
        "PEM; clients must have a certificate signed by one of these",
    ),
    one(
        "confirm",
        "BROKER",
        "mqtt://[USER:PASSWORD@]HOST[:PORT] or mqtts://...; each report that is kept is\ntold to its msg_confirm_topic",
    ),
    one(
        "confirm-ca",
        "FILE",
        "PEM; for mqtts://, who signs the broker's certificate",
    ),
    one(
        "max-connections",
        "N",
        "default 960; whose client is waited for longest makes room",
    ),
    one(
        "memory",
        "MB",
        "for reports that are under way, at least 40, default 256",
    ),
    one(
        "grace",
        "SECONDS",
        "on SIGTERM, for requests that are under way; default 30",
    ),
    one(
        "record",
        "FILE",
        "in memory: append each accepted report to FILE as a line of JSON",
    ),
    Setting {
        many: true,
        ..one(
            "fault",
            "SPEC",
            "for tests: fail on purpose, see below; may be given again",
        )
    },
    one("seed", "N", "for faults `@random`, default 1"),
    one("quiet", "", "no line on stderr for each request"),
    one(
        "config",
        "FILE",
        "TOML, with these names: listen = \"0.0.0.0:8087\"",
    ),
    one("version", "", "which one this is"),
    one("help", "", "this text"),
];

/// What says that something is not to be there.
const OFF: &str = "false";

/// What is set, in the words of whoever set it.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<&'static str, Vec<String>>);

impl Settings {
    /// From all three places.
    pub(super) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
        let mut settings = Settings::from_arguments(arguments)?;
        settings.fall_back_to(Settings::from_environment()?);
        if let Some(file) = settings.get("config") {
            let config = file.to_owned();
            let file = Settings::from_file(&config).map_err(|why| format!("{config}: {why}"))?;
            settings.fall_back_to(file);
        }
        settings.0.retain(|name, values| {
            !(named(name).is_some_and(|setting| setting.value.is_empty()) && values == &[OFF])
        });
        Ok(settings)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    pub(super) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let mut arguments = (1..).zip(arguments).map(unicode);
        while let Some(argument) = arguments.next() {
            let argument = argument?;
            // What stands after `=` may be a secret.
            let (option, given) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let name = match option {
                "-h" => "help",
                "-V" => "version",
                _ => option.strip_prefix("--").unwrap_or(""),
            };
            let setting = named(name).ok_or_else(|| {
                let instead = instead(option, |name| format!("--{name}"));
                format!("there is no option `{option}`{instead}")
            })?;
            let value = match given {
                Some(value) => value,
                None if setting.value.is_empty() => "true".to_owned(),
                None => {
                    let value = arguments.next().transpose()?;
                    value.ok_or_else(|| format!("{option} needs a value"))?
                }
            };
            settings
                .add(setting, value)
                .map_err(|why| format!("{option} {why}"))?;
        }
        Ok(settings)
    }

    fn from_environment() -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (given, value) in env::vars_os() {
            let Some(name) = given.to_str().and_then(|given| given.strip_prefix(PREFIX)) else {
                continue;
            };
            let value = value.into_string();
            let value = value.map_err(|_| format!("{PREFIX}{name} is not Unicode"))?;
            let setting = SETTINGS
                .iter()
                .find(|setting| variable(setting.name).strip_prefix(PREFIX) == Some(name));
            if setting.is_none() && of_kubernetes(name, &value) {
                continue;
            }
            // Not passed over: without its keys a receiver is open to all.
            let setting = setting.ok_or_else(|| {
                format!("there is no `{PREFIX}{name}`{}", instead(name, variable))
            })?;
            settings
                .add(setting, value)
                .map_err(|why| format!("{PREFIX}{name} {why}"))?;
        }
        Ok(settings)
    }

    #[cfg(feature = "program")]
    fn from_file(path: &str) -> Result<Settings, String> {
        let text = std::fs::read_to_string(path).map_err(|why| why.to_string())?;
        // What is wrong is reported without the line, which may be a secret.
        let table: toml::Table = text.parse().map_err(|why: toml::de::Error| {
            let line = why
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(0, |before| before.matches('\n').count());
            format!("line {}: {}", line.saturating_add(1), why.message())
        })?;
        let mut settings = Settings::default();
        for (name, value) in table {
            let setting = named(&name)
                .ok_or_else(|| format!("there is no `{name}`{}", instead(&name, str::to_owned)))?;
            if ["config", "help", "version"].contains(&setting.name) {
                return Err(format!("`{name}` belongs on the command line"));
            }
            let values = match value {
                toml::Value::Array(values) => values,
                value => vec![value],
            };
            for value in values {
                let value = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Integer(number) => number.to_string(),
                    toml::Value::Boolean(it) => it.to_string(),
                    _ => return Err(format!("`{name}` is not a text, a number or true")),
                };
                settings
                    .add(setting, value)
                    .map_err(|why| format!("`{name}` {why}"))?;
            }
        }
        Ok(settings)
    }

    #[cfg(not(feature = "program"))]
    fn from_file(_: &str) -> Result<Settings, String> {
        Err("this was built without the feature `program`".to_owned())
    }

    fn add(&mut self, setting: &Setting, value: String) -> Result<(), String> {
        let value = match (setting.value, value.as_str()) {
            ("", "true" | "1") => "true".to_owned(),
            // Kept, since it comes before what is said elsewhere.
            ("", "false" | "0" | "") => OFF.to_owned(),
            ("", _) => return Err("is true or false".to_owned()),
            (_, "") => return Err("is empty".to_owned()),
            _ => value,
        };
        let values = self.0.entry(setting.name).or_default();
        if !values.is_empty() && !setting.many {
            return Err("stands there twice".to_owned());
        }
        values.push(value);
        Ok(())
    }

    fn fall_back_to(&mut self, others: Settings) {
        for (name, values) in others.0 {
            self.0.entry(name).or_insert(values);
        }
    }
}

fn named(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A setting's name in the environment.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase().replace('-', "_"))
}

/// Set by Kubernetes for a service that has the name of this program.
fn of_kubernetes(name: &str, value: &str) -> bool {
    name.starts_with("SERVICE_")
        || name.starts_with("PORT_")
        || (name == "PORT" && value.contains("://"))
}

/// The name that was meant, most likely, as it is written there.
fn instead(given: &str, written: impl Fn(&str) -> String) -> String {
    let given = given
        .trim_start_matches('-')
        .replace('_', "-")
        .to_lowercase();
    let near = SETTINGS.iter().map(|setting| setting.name);
    let near = near.min_by_key(|name| distance(&given, name));
    near.filter(|name| distance(&given, name) <= 2)
        .map_or(String::new(), |name| format!(", but `{}`", written(name)))
}

/// How many letters are to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (number, left) in (1..).zip(a.chars()) {
        let mut before: usize = number;
        let mut next = vec![before];
        for (pair, right) in row.windows(2).zip(b.chars()) {
            let [diagonal, above] = *pair else { break };
            let changed = diagonal.saturating_add(usize::from(left != right));
            before = changed
                .min(above.saturating_add(1))
                .min(before.saturating_add(1));
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// It is not told when it is wrong: it may be a secret.
fn unicode((number, text): (usize, OsString)) -> Result<String, String> {
    text.into_string()
        .map_err(|_| format!("argument {number} is not Unicode"))
}
