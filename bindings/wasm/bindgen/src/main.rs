//! Writes the JavaScript around a module of wasm-bindgen: `bindgen MODULE.wasm DIRECTORY`.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, directory] = &args[..] else {
        eprintln!("usage: bindgen MODULE.wasm DIRECTORY");
        return ExitCode::from(2);
    };
    match run(module, directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bindgen: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(module: &str, directory: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .out_name("edge_report")
        // The package finds its module by itself.
        .omit_default_module_path(true)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(directory)?;
    Ok(())
}
