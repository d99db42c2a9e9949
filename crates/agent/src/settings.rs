//! Settings, by name: from the command line, else from the environment, else from the file of `--config`. All three have the same names and values.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::str::FromStr;

use crate::names::{NAMES, Name};

/// Before each name in the environment, where `-` is `_`.
const PREFIX: &str = "EDGE_REPORT_AGENT_";
/// What says that something is not to be there.
const OFF: &str = "false";

/// What is set, in the words of whoever set it.
#[derive(Default)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What stands on the command line without a name.
    pub(crate) words: Vec<String>,
}

impl Settings {
    /// From all three places.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
        let mut settings = Settings::from_arguments(arguments)?;
        settings.fall_back_to(Settings::from_environment()?);
        if let Some(file) = settings.get("config") {
            let config = file.to_owned();
            let file = Settings::from_file(&config).map_err(|why| format!("{config}: {why}"))?;
            settings.fall_back_to(file);
        }
        settings.values.retain(|name, values| {
            !(named(name).is_some_and(|name| name.value.is_empty()) && values == &[OFF])
        });
        Ok(settings)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn needed(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| {
            format!(
                "--{name} is needed, or {}, or `{name}` in the file of --config",
                variable(name)
            )
        })
    }

    /// A whole number from `least` on.
    pub(crate) fn number<N>(&self, name: &str, least: N, default: N) -> Result<N, String>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        match value.parse() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(format!(
                "--{name} `{value}` is not a whole number from {least}, or too large"
            )),
        }
    }

    /// One of these, the first by default.
    pub(crate) fn choice<V: Copy>(&self, name: &str, choices: &[(&str, V)]) -> Result<V, String> {
        let first = choices.first().map(|(first, _)| *first);
        let given = self.get(name).or(first).unwrap_or_default();
        let found = choices.iter().find(|(choice, _)| *choice == given);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            format!("--{name} `{given}` is none of {}", known.join(", "))
        })
    }

    fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let mut arguments = (1..).zip(arguments).map(unicode);
        while let Some(argument) = arguments.next() {
            let argument = argument?;
            if !argument.starts_with('-') || argument == "-" {
                settings.words.push(argument);
                continue;
            }
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
            let name = named(name).ok_or_else(|| {
                let instead = instead(option, |name| format!("--{name}"));
                format!("there is no option `{option}`{instead}")
            })?;
            let value = match given {
                Some(value) => value,
                None if name.value.is_empty() => "true".to_owned(),
                None => {
                    let value = arguments.next().transpose()?;
                    value.ok_or_else(|| format!("{option} needs a value"))?
                }
            };
            settings
                .add(name, value)
                .map_err(|why| format!("{option} {why}"))?;
        }
        Ok(settings)
    }

    fn from_environment() -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (given, value) in env::vars_os() {
            let Some(rest) = given.to_str().and_then(|given| given.strip_prefix(PREFIX)) else {
                continue;
            };
            let value = value.into_string();
            let value = value.map_err(|_| format!("{PREFIX}{rest} is not Unicode"))?;
            let mut names = NAMES.iter();
            let name = names.find(|name| variable(name.name).strip_prefix(PREFIX) == Some(rest));
            if name.is_none() && of_kubernetes(rest, &value) {
                continue;
            }
            // Not passed over: without its key an agent would report unsigned.
            let name = name.ok_or_else(|| {
                format!("there is no `{PREFIX}{rest}`{}", instead(rest, variable))
            })?;
            settings
                .add(name, value)
                .map_err(|why| format!("{PREFIX}{rest} {why}"))?;
        }
        Ok(settings)
    }

    fn from_file(path: &str) -> Result<Settings, String> {
        let text = fs::read_to_string(path).map_err(|why| why.to_string())?;
        // What is wrong is reported without the line, which may be a secret.
        let table: toml::Table = text.parse().map_err(|why: toml::de::Error| {
            let line = why
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(0, |before| before.matches('\n').count());
            format!("line {}: {}", line.saturating_add(1), why.message())
        })?;
        let mut settings = Settings::default();
        for (given, value) in table {
            let name = named(&given).ok_or_else(|| {
                format!("there is no `{given}`{}", instead(&given, str::to_owned))
            })?;
            if ["config", "help", "version"].contains(&name.name) {
                return Err(format!("`{given}` belongs on the command line"));
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
                    _ => return Err(format!("`{given}` is not a text, a number or true")),
                };
                settings
                    .add(name, value)
                    .map_err(|why| format!("`{given}` {why}"))?;
            }
        }
        Ok(settings)
    }

    fn add(&mut self, name: &Name, value: String) -> Result<(), String> {
        let value = match (name.value, value.as_str()) {
            ("", "true" | "1") => "true".to_owned(),
            // Kept, since it comes before what is said elsewhere.
            ("", "false" | "0" | "") => OFF.to_owned(),
            ("", _) => return Err("is true or false".to_owned()),
            (_, "") => return Err("is empty".to_owned()),
            _ => value,
        };
        let values = self.values.entry(name.name).or_default();
        if !values.is_empty() && !name.many {
            return Err("stands there twice".to_owned());
        }
        values.push(value);
        Ok(())
    }

    fn fall_back_to(&mut self, others: Settings) {
        for (name, values) in others.values {
            self.values.entry(name).or_insert(values);
        }
    }
}

fn named(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|known| known.name == name)
}

/// A name in the environment.
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
    let given = given.trim_start_matches('-');
    let given = given.replace('_', "-").to_lowercase();
    meant(&given, NAMES.iter().map(|name| name.name))
        .map_or(String::new(), |name| format!(", but `{}`", written(name)))
}

/// The one of these that differs by two letters at the most.
pub(crate) fn meant(
    given: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let near = known.min_by_key(|name| distance(given, name));
    near.filter(|name| distance(given, name) <= 2)
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
