//! The receiver on the command line: `edge-report-receiver --help`.

fn main() -> std::process::ExitCode {
    edge_report_receiver::program::main()
}
