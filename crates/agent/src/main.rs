//! Reports what the jobs of a Flink cluster do, until it is accepted: `edge-report-agent --help`.

mod failure;
mod files;
mod flink;
mod log;
mod names;
mod notify;
mod options;
mod program;
mod run;
mod service;
mod settings;
mod signals;
mod state;

fn main() -> std::process::ExitCode {
    program::main()
}
