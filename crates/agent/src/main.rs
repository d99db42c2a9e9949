//! Reports what the jobs of a Flink cluster do, until it is accepted: `edge-report-agent --help`.

mod check;
mod console;
mod control;
mod failure;
mod files;
mod flink;
mod log;
mod look;
mod names;
mod notify;
mod options;
mod pipe;
mod program;
mod progress;
mod run;
mod service;
mod settings;
mod signals;
mod snapshot;
mod state;
mod store;

fn main() -> std::process::ExitCode {
    program::main()
}
