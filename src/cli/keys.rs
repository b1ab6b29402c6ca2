//! `bedside keys`: the key pair this box signs in with upstream.

use std::path::PathBuf;

use super::{CliError, install_crypto, say_json, tell};
use crate::secret;
use crate::upstream::keys::{self, Algorithm, SigningKey};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key pair; keep the private half in the secrets folder, print the public half (a JWKS) to register
    New {
        /// Name of the secret, as `key_secret` in [upstream] names it
        name: String,
        /// Signature algorithm: ES384 or RS384
        #[arg(long, default_value = "ES384")]
        algorithm: Algorithm,
        /// The secrets folder
        #[arg(long, default_value = "/etc/bedside/secrets", value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Print the public half of a key pair again
    Show {
        /// Name of the secret
        name: String,
        /// The secrets folder
        #[arg(long, default_value = "/etc/bedside/secrets", value_name = "FOLDER")]
        folder: PathBuf,
    },
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    install_crypto();
    match command {
        Command::New { name, algorithm, folder } => new(&name, algorithm, folder),
        Command::Show { name, folder } => {
            let pem = super::secret_store(folder).load(&name).map_err(CliError::failed)?;
            show(pem.expose())
        }
    }
}

fn new(name: &str, algorithm: Algorithm, folder: PathBuf) -> Result<(), CliError> {
    secret::check_name(name).map_err(CliError::failed)?;
    let pem = keys::generate(algorithm).map_err(CliError::failed)?;
    let path = folder.join(name);
    secret::write_new(&path, &pem).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    tell(format!("The private key is in {} and stays there.", path.display()));
    tell("Register this public key set with the EHR team:");
    show(pem.expose())
}

fn show(pem: &[u8]) -> Result<(), CliError> {
    let key = SigningKey::from_pem(pem).map_err(CliError::failed)?;
    say_json(&serde_json::json!({ "keys": [key.public_jwk()] }));
    Ok(())
}
