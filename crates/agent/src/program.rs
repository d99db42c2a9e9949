//! Which command it is, and how it ends.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::failure::{Failure, failed, wrong};
use crate::log::{self, Level};
use crate::names::NAMES;
use crate::run;
use crate::settings::{Settings, meant};

const HEAD: &str = "\
Reports what the jobs of a Flink cluster do, and delivers until it is accepted.

Usage: edge-report-agent COMMAND [OPTION]...

  run                  watch the cluster at --flink, report to --url from --spool
  check-config         say whether the options of `run` are right; touch nothing

";

const FOOT: &str = "
Each option is also a variable in the environment, such as
EDGE_REPORT_AGENT_SK, and a name in the file of --config.
The command line comes first, then the environment, then the file.
In brackets: what is taken without the option.

On SIGTERM it ends after the exchange that is under way. On SIGHUP it reads the
settings again: addresses, credentials, and the files with certificates and keys.
Ends 0: well. 1: something failed. 2: it is set wrongly, or the spool is in use.
";

pub(crate) const COMMANDS: [&str; 2] = ["run", "check-config"];

pub(crate) fn main() -> ExitCode {
    let ended = act();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, why }) => {
            let _ = writeln!(io::stderr(), "edge-report-agent: {why}");
            ExitCode::from(code)
        }
    }
}

fn act() -> Result<(), Failure> {
    let settings = Settings::read(env::args_os().skip(1))?;
    if settings.has("help") {
        return help().map_err(failed);
    }
    if settings.has("version") {
        let version = env!("CARGO_PKG_VERSION");
        return writeln!(io::stdout(), "edge-report-agent {version}").map_err(failed);
    }
    log::set(settings.choice("log-level", &Level::NAMES)?);
    let mut words = settings.words.iter().map(String::as_str);
    let command = words.next().unwrap_or_default();
    if let Some(word) = words.next() {
        return Err(format!("`{word}` is one word too many").into());
    }
    match command {
        "run" => run::run(&settings),
        "check-config" => run::check(&settings),
        "" => Err("say what to do: edge-report-agent run ..."
            .to_owned()
            .into()),
        other => {
            let instead = meant(other, COMMANDS.into_iter());
            let instead = instead.map_or(String::new(), |name| format!(", but `{name}`"));
            Err(wrong(format!(
                "there is no command `{other}`{instead}; see --help"
            )))
        }
    }
}

fn help() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(HEAD.as_bytes())?;
    for name in NAMES {
        let flag = format!("--{} {}", name.name, name.value);
        for (number, line) in name.help.lines().enumerate() {
            let flag = if number == 0 { flag.as_str() } else { "" };
            writeln!(out, "  {flag:<30} {line}")?;
        }
    }
    out.write_all(FOOT.as_bytes())
}
