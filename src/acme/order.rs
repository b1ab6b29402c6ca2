//! One order (RFC 8555 §7.4): account, order, proofs, request, certificate. What a crash could lose is on disk before the
//! server is told; an order that was left in the middle is gone on with.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::time::{Instant, sleep};

use super::challenge::{self, Board};
use super::client::{Heard, Http};
use super::kept::{Kept, Under};
use super::{Config, Fault, Proof, canonical};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretStore};

/// Longest that the server may look at this box, and longest that it may make a certificate.
const LOOKING: Duration = Duration::from_secs(5 * 60);
/// How often an order is gone on with when the server took no nonce.
const NONCES_MAX: usize = 20;
/// How often it is asked meanwhile, and at most as seldom as it wants.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What an order brought back. Whether it is any good is for the caller to say.
pub struct Fetched {
    /// The chain in PEM, the box's own certificate first.
    pub chain_pem: String,
    /// The private key of the first, PKCS #8 PEM.
    pub key_pem: Secret,
}

/// What an order works with.
struct Work<'a> {
    config: &'a Config,
    kept: &'a Kept,
    board: Arc<Board>,
    heard: Heard,
}

/// Clears the board however the order ends.
struct Cleared(Arc<Board>);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Asks for a certificate, going on with the order that was left in the middle if there is one. The order stays on disk
/// until [`Kept::forget_order`]: what was fetched can be fetched again.
///
/// # Errors
/// What went wrong, and what to do next.
pub async fn fetch(
    config: &Config,
    secrets: &SecretStore,
    kept: &Kept,
    board: Arc<Board>,
    now: Timestamp,
) -> Result<Fetched, Fault> {
    let (http, heard) = Http::new(config, now)
        .map_err(|why| Fault::new(why, "Correct the settings of the certificate by ACME."))?;
    let _cleared = Cleared(board.clone());
    let work = Work { config, kept, board, heard };
    let mut done = work.through(http.clone(), secrets).await;
    for _ in 0..NONCES_MAX {
        // The library gives up after three: a server behind several others may need more (RFC 8555 §6.5).
        if !done.as_ref().is_err_and(|fault| fault.nonces) {
            break;
        }
        sleep(AGAIN / 4).await;
        done = work.through(http.clone(), secrets).await;
    }
    done.map_err(|fault| {
        if fault.no_account {
            kept.forget_account();
            kept.forget_order();
        }
        let asked = fault.wait.or(work.heard.wait());
        fault.waiting(asked)
    })
}

fn unkept(why: String) -> Fault {
    Fault::new(why, "Let the box write into its secrets folder: the account and the key are kept there.")
}

impl Work<'_> {
    async fn through(&self, http: Http, secrets: &SecretStore) -> Result<Fetched, Fault> {
        let account = self.account(http, secrets).await?;
        let (mut order, under) = self.order(&account).await?;
        let _open = match self.config.challenge {
            Proof::Http01 => Some(challenge::listen(self.config, self.board.clone()).await?),
            Proof::TlsAlpn01 => None,
        };
        let status = order.state().status;
        if status == OrderStatus::Pending {
            self.prove(&mut order).await?;
            self.wait_while(&mut order, OrderStatus::Pending).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = request(self.config, &under)?;
            order.finalize_csr(&request).await?;
        }
        self.wait_while(&mut order, OrderStatus::Processing).await?;
        let chain_pem = order.certificate().await?;
        let chain_pem =
            chain_pem.ok_or_else(|| Fault::from(Error::Str("no certificate of a valid order")))?;
        Ok(Fetched { chain_pem, key_pem: under.key() })
    }

    async fn account(&self, http: Http, secrets: &SecretStore) -> Result<Account, Fault> {
        let builder = Account::builder_with_http(Box::new(http));
        if let Some(credentials) = self.kept.account(self.config) {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contacts = self.config.contacts();
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: self.config.terms_agreed,
            only_return_existing: false,
        };
        let binding = binding(self.config, secrets)?;
        let directory = self.config.directory.clone();
        let (account, credentials) = builder.create(&wanted, directory, binding.as_ref()).await?;
        self.kept.keep_account(self.config, credentials).map_err(unkept)?;
        Ok(account)
    }

    /// The order that was left in the middle, as far as something can come of it; else a new one, on disk with its key.
    async fn order(&self, account: &Account) -> Result<(Order, Under), Fault> {
        if let Some(under) = self.kept.order(self.config) {
            match account.order(under.url.clone()).await {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok((order, under));
                    }
                }
                Err(Error::Api(problem)) => {
                    let fault = Fault::from(&problem);
                    if fault.no_account {
                        return Err(fault);
                    }
                    tracing::info!(why = fault.what, "An ACME order left in the middle is begun anew.");
                }
                Err(other) => return Err(other.into()),
            }
            self.kept.forget_order();
        }
        let hosts = self.config.hosts.iter();
        let identifiers: Vec<Identifier> = hosts
            .map(|host| host.parse().map_or_else(|_| Identifier::Dns(host.clone()), Identifier::Ip))
            .collect();
        let order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|fault| Fault::new(format!("no key could be made: {fault}"), "It is tried again."))?;
        let under = Under::new(self.config, order.url(), key.serialize_pem());
        self.kept.keep_order(&under).map_err(unkept)?;
        Ok((order, under))
    }

    /// Shows the proof of each name that is not proven, and says so.
    async fn prove(&self, order: &mut Order) -> Result<(), Fault> {
        if order.state().authorizations.len() > self.config.hosts.len() {
            return Err(Error::Str("more authorizations than names were ordered").into());
        }
        let kind = match self.config.challenge {
            Proof::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Proof::Http01 => ChallengeType::Http01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let host = authorization.identifier().to_string();
            if !self.config.hosts.iter().any(|own| canonical(own) == host) {
                return Err(Error::Str("an authorization for a name that was not ordered").into());
            }
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(refused(&host, authorization.challenges.iter())),
            }
            let offered: Vec<String> =
                authorization.challenges.iter().map(|one| format!("{:?}", one.r#type)).take(8).collect();
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let word = self.config.challenge.word();
                let what = format!("the authority offers no {word} for {host}, but {}", offered.join(", "));
                return Err(Fault::new(
                    what,
                    "Choose the other challenge, or have this one allowed over there.",
                ));
            };
            let proof = challenge.key_authorization();
            match self.config.challenge {
                Proof::TlsAlpn01 => self.board.show_certificate(&host, proof.digest().as_ref())?,
                Proof::Http01 => self.board.show_text(&challenge.token, proof.as_str())?,
            }
            // One that is being looked at was told before a restart.
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await?;
            }
        }
        Ok(())
    }

    /// Asks until the order is no longer in this state. One that is refused says why.
    async fn wait_while(&self, order: &mut Order, state: OrderStatus) -> Result<(), Fault> {
        let end = Instant::now() + LOOKING;
        while order.state().status == state {
            if Instant::now() >= end {
                let what = "the authority did not come to an end with the order in five minutes";
                return Err(Fault::new(what, "Nothing: the order is gone on with at the next try."));
            }
            sleep(self.heard.wait().unwrap_or(AGAIN).clamp(AGAIN / 4, AGAIN_MAX)).await;
            order.refresh().await?;
        }
        if order.state().status != OrderStatus::Invalid {
            return Ok(());
        }
        self.kept.forget_order();
        Err(self.why_invalid(order).await)
    }

    /// What an authorization of an order that came to nothing says, else the order itself.
    async fn why_invalid(&self, order: &mut Order) -> Fault {
        let own = order.state().error.as_ref().map(Fault::from);
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.refresh().await.is_ok() && authorization.status == AuthorizationStatus::Invalid {
                let host = authorization.identifier().to_string();
                return refused(&host, authorization.challenges.iter());
            }
        }
        own.unwrap_or_else(|| {
            Fault::new(
                "the authority refused the order and gave no reason",
                "Ask whoever runs it to look at its log.",
            )
        })
    }
}

fn refused<'a>(host: &str, challenges: impl Iterator<Item = &'a instant_acme::Challenge>) -> Fault {
    let mut told = challenges.filter_map(|challenge| challenge.error.as_ref());
    match told.next() {
        Some(problem) => {
            let fault = Fault::of_proof(problem);
            Fault { what: format!("{host}: {}", fault.what), ..fault }
        }
        None => Fault::new(
            format!("{host}: the authority refused the proof and gave no reason"),
            "Check that the name leads to this box; ask whoever runs the authority to look at its log.",
        ),
    }
}

fn binding(config: &Config, secrets: &SecretStore) -> Result<Option<ExternalAccountKey>, Fault> {
    let (Some(id), Some(name)) = (&config.eab_key_id, &config.eab_secret) else { return Ok(None) };
    let next = "Put the MAC key as the authority gave it (base64url) into that file of the secrets folder.";
    let wrong = |why: String| Fault::new(why, next);
    let secret = secrets.load(name).map_err(|fault| wrong(fault.to_string()))?;
    let text = secret.expose_text().map_err(|fault| wrong(fault.to_string()))?;
    let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    let key = Secret::new(key.map_err(|_| wrong(format!("the secret {name} is not base64url")))?);
    Ok(Some(ExternalAccountKey::new(id.clone(), key.expose())))
}

/// The request (PKCS #10) for all names.
fn request(config: &Config, under: &Under) -> Result<Vec<u8>, Fault> {
    let wrong = |fault: rcgen::Error| {
        Fault::new(format!("the request for the certificate could not be made: {fault}"), "Check the names.")
    };
    let key = KeyPair::from_pem(&under.key_pem).map_err(wrong)?;
    let mut params = CertificateParams::new(config.hosts.clone()).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(wrong)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "directory = \"https://ca/d\"\nhosts = [\"a\", \"10.0.0.1\"]\nterms_agreed = true\n{more}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_request_names_every_host_and_is_of_the_key_that_was_kept() {
        let key = KeyPair::generate().unwrap();
        let config = config("");
        let under = Under::new(&config, "u", key.serialize_pem());
        let der = request(&config, &under).unwrap();
        use x509_parser::prelude::FromDer;
        let (_, read) = x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        read.verify_signature().unwrap();
        assert_eq!(read.certification_request_info.subject_pki.subject_public_key.data, key.public_key_raw());
        let text = format!("{:?}", read.requested_extensions().unwrap().collect::<Vec<_>>());
        assert!(text.contains("DNSName(\"a\")") && text.contains("IPAddress([10, 0, 0, 1])"), "{text}");
        assert!(request(&config, &Under::new(&config, "u", "none".into())).is_err());
    }

    #[test]
    fn an_external_account_needs_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        assert!(binding(&config(""), &secrets).unwrap().is_none());
        let config = config("eab_key_id = \"k\"\neab_secret = \"acme-eab\"");
        let why = |fault: Result<Option<ExternalAccountKey>, Fault>| fault.err().unwrap().what;
        assert!(why(binding(&config, &secrets)).contains("not found"));
        let put = |text: &str| {
            std::fs::remove_file(dir.path().join("acme-eab")).ok();
            crate::secret::write_new(&dir.path().join("acme-eab"), &Secret::new(text.into())).unwrap();
        };
        put("?!");
        assert!(why(binding(&config, &secrets)).contains("base64url"));
        put("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n");
        assert!(binding(&config, &secrets).unwrap().is_some());
    }
}
