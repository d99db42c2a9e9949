//! Which command it is, and how it ends.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::failure::{Failure, failed};
use crate::log;
use crate::names::NAMES;
use crate::settings::{Settings, meant};
use crate::{check, look, pipe, progress, run};

const HEAD: &str = "\
Reports what the jobs of a Flink cluster do, and delivers until it is accepted.

Usage: edge-report-agent COMMAND [OPTION]...

  run                  watch the cluster at --flink, report to --url from --spool
  pipe                 deliver reports from standard input, a line of JSON each, to --url
                       from --spool, and say on standard output what became of each:
                       stored, delivered, refused or invalid
  check-config         say whether the options of `run` are right; touch nothing
  check FILE...        list what is wrong with reports; - is standard input
  status               what became of all reports in --spool so far
  letters              the dead letters in --spool, a line of JSON each
  resubmit TICKET|all  let dead letters wait as new reports, also while an agent runs
                       on --spool

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

const COMMANDS: [&str; 6] = [
    "run",
    "check-config",
    "check",
    "status",
    "letters",
    "resubmit",
];

pub(crate) fn main() -> ExitCode {
    let done = act();
    progress::clear();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, why }) => {
            // It may have words of whoever listens at a socket.
            let why = why.replace(char::is_control, " ");
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
    log::set(log::level(&settings)?);
    let (command, words) = match settings.words.split_first() {
        Some((command, words)) => (command.as_str(), words),
        None => {
            return Err("say what to do: edge-report-agent run ..."
                .to_owned()
                .into());
        }
    };
    match (command, words) {
        ("run", []) => run::run(&settings),
        ("pipe", []) => pipe::pipe(&settings),
        ("check-config", []) => run::check(&settings),
        ("check", files) => check::check(files),
        ("status", []) => look::status(&settings),
        ("letters", []) => look::letters(&settings),
        ("resubmit", [which]) => look::resubmit(&settings, which),
        ("resubmit", []) => Err("resubmit needs a ticket of `letters`, or `all`"
            .to_owned()
            .into()),
        (known, [word, ..]) if COMMANDS.contains(&known) => {
            Err(format!("`{word}` is one word too many").into())
        }
        (other, _) => {
            let instead = meant(other, COMMANDS.into_iter());
            let instead = instead.map_or(String::new(), |name| format!(", but `{name}`"));
            Err(format!("there is no command `{other}`{instead}").into())
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
