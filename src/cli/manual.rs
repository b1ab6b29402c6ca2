//! `bedside manual`, `bedside completions` and `bedside sbom`: what a package puts beside the binary, from the binary itself.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct ManualArguments {
    /// The folder to write the pages to, one for each command
    folder: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct SbomArguments {
    /// The notices of every licence instead
    #[arg(long)]
    licences: bool,
}

/// Writes what the program is made of to standard output.
pub(super) fn sbom(arguments: &SbomArguments) {
    if arguments.licences {
        super::say(crate::sbom::notices().trim_end());
    } else {
        super::say_json(&crate::sbom::cyclonedx());
    }
}

/// Writes `bedside.1`, `bedside-run.1` and so on.
pub(super) fn manual(arguments: &ManualArguments) -> Result<(), CliError> {
    let at = |fault| CliError::failed(format!("{}: {fault}", arguments.folder.display()));
    std::fs::create_dir_all(&arguments.folder).map_err(at)?;
    clap_mangen::generate_to(super::Arguments::command(), &arguments.folder).map_err(at)
}

/// Writes the completions of a shell to standard output.
pub(super) fn completions(arguments: &CompletionsArguments) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "bedside", &mut script);
    super::say(String::from_utf8_lossy(&script).trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_no_page_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        manual(&ManualArguments { folder: folder.path().into() }).unwrap();
        for command in super::super::Arguments::command().get_subcommands() {
            let name = command.get_name();
            let page = std::fs::read_to_string(folder.path().join(format!("bedside-{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }
}
