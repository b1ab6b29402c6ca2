//! Arguments → command → exit code; the only user of anyhow.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use bedside::cli;
use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let Err(fault) = cli::main(arguments) else { return ExitCode::SUCCESS };
    let code = fault.code();
    let said = Err::<(), _>(fault).context("bedside");
    if let Err(said) = said {
        let _closed = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{said:#}\n"));
    }
    ExitCode::from(code)
}
