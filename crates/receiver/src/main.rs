//! The receiver on the command line: `edge-report-receiver --help`.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use edge_report_receiver::{Fault, Options, Receiver};

const HELP: &str = "\
Receives job reports: POST [/prefix]/v1/{project_id}/edgesrv/job-report

Usage: edge-report-receiver [OPTION]...
  --listen ADDR:PORT  default 127.0.0.1:8087; port 0 is any free one
  --ak AK --sk SK     requests must be signed with these keys
  --record FILE       append each accepted report to FILE as a line of JSON
  --fault SPEC        fail on purpose, see below; may be given again
  --seed N            for faults `@random`, default 1
  --quiet             no line on stderr for each request
  --help              this text
";

/// What the command line asks for.
enum Command {
    Help,
    Run(Options),
}

fn main() -> ExitCode {
    match parse(env::args_os().skip(1).map(OsString::into_string)) {
        Ok(Command::Help) => {
            let shown = write!(io::stdout(), "{HELP}\n{}", Fault::GRAMMAR);
            ExitCode::from(u8::from(shown.is_err()))
        }
        Ok(Command::Run(options)) => {
            let Err(why) = run(options);
            complain(&why.to_string());
            let code = if why.kind() == io::ErrorKind::InvalidInput {
                2
            } else {
                1
            };
            ExitCode::from(code)
        }
        Err(why) => {
            complain(&format!("{why}; see --help"));
            ExitCode::from(2)
        }
    }
}

/// Runs until it is killed.
fn run(options: Options) -> io::Result<std::convert::Infallible> {
    let receiver = Receiver::start(options)?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", receiver.url())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}

/// Arguments that are not Unicode come as errors.
fn parse(mut args: impl Iterator<Item = Result<String, OsString>>) -> Result<Command, String> {
    let mut options = Options::new()
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 8087)))
        .keep(false)
        .log(complain);
    let (mut ak, mut sk) = (None, None);
    while let Some(name) = args.next() {
        let name = unicode(name)?;
        let mut value = || {
            let value = args.next().map(unicode).transpose()?;
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        options = match name.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--listen" => options.listen(parsed(&name, &value()?)?),
            "--ak" => {
                ak = Some(value()?);
                options
            }
            "--sk" => {
                sk = Some(value()?);
                options
            }
            "--record" => options.record(value()?),
            "--fault" => {
                let fault: Result<Fault, _> = value()?.parse();
                options.fault(fault.map_err(|why| why.to_string())?)
            }
            "--seed" => options.seed(parsed(&name, &value()?)?),
            "--quiet" => options.log(|_| {}),
            _ => return Err(format!("there is no option `{name}`")),
        }
    }
    match (ak, sk) {
        (None, None) => Ok(Command::Run(options)),
        (Some(ak), Some(sk)) => Ok(Command::Run(options.keys(ak, sk))),
        _ => Err("--ak and --sk go together".to_owned()),
    }
}

fn unicode(arg: Result<String, OsString>) -> Result<String, String> {
    arg.map_err(|arg| format!("{} is not Unicode", arg.display()))
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|why| format!("{name} `{value}`: {why}"))
}

/// On stderr, if there is one.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
