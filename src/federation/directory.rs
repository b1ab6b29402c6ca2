//! LDAP (RFC 4511): find the person with the box's own account, bind as the person found, read the groups. Always
//! encrypted, referrals never followed: a password goes to the configured server and nowhere else.

use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions};
use zeroize::Zeroizing;

use super::{Directory, Unreachable};
use crate::access::Vouched;
use crate::access::ldap::{self, Config, GROUPS_MAX, group_filter, person_filter, worth_asking};
use crate::connector::Later;
use crate::secret::{Secret, SecretStore};
use crate::tls;

/// For connecting, and for each question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Two entries are one too many already.
const PEOPLE_MAX: i32 = 2;
/// LDAP result codes (RFC 4511 appendix A.1): a wrong password, and ways in which directories say the same.
const INVALID_CREDENTIALS: u32 = 49;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const UNWILLING: u32 = 53;
const CONSTRAINT: u32 = 19;

/// A directory on the network.
#[derive(Clone)]
pub(super) struct Remote {
    config: Config,
    password: Secret,
}

impl Remote {
    pub(super) fn new(config: &Config, secrets: &SecretStore) -> Result<Self, String> {
        let password =
            secrets.load(&config.bind_password).map_err(|fault| format!("[access.ldap]: {fault}"))?;
        let remote = Self { config: config.clone(), password };
        remote.settings()?;
        Ok(remote)
    }

    /// Read anew for each log-in: a renewed authority needs no restart.
    fn settings(&self) -> Result<LdapConnSettings, String> {
        let trust = tls::Settings { ca_file: self.config.ca_file.clone(), ..tls::Settings::default() };
        let trust = trust.client().map_err(|fault| format!("[access.ldap]: {fault}"))?;
        Ok(LdapConnSettings::new()
            .set_conn_timeout(PATIENCE)
            .set_starttls(self.config.starttls)
            .set_config(trust))
    }

    async fn ask(
        self,
        username: String,
        password: Zeroizing<String>,
    ) -> Result<Option<Vouched>, Unreachable> {
        let config = &self.config;
        let settings = self.settings().map_err(Unreachable)?;
        let connecting = LdapConnAsync::with_settings(settings, &config.url);
        let (connection, mut link) = tokio::time::timeout(PATIENCE, connecting)
            .await
            .map_err(|_| Unreachable("the directory does not answer".into()))?
            .map_err(|fault| told("connecting", &fault))?;
        let driving = tokio::spawn(async move { connection.drive().await });
        let answer = self.converse(&mut link, &username, &password).await;
        link.with_timeout(PATIENCE).unbind().await.ok();
        driving.abort();
        answer
    }

    async fn converse(
        &self,
        link: &mut ldap3::Ldap,
        username: &str,
        password: &str,
    ) -> Result<Option<Vouched>, Unreachable> {
        let config = &self.config;
        let own = self.password.expose_text().map_err(|fault| Unreachable(fault.to_string()))?;
        let bound = link.with_timeout(PATIENCE).simple_bind(&config.bind_dn, own).await;
        bound
            .and_then(ldap3::LdapResult::success)
            .map_err(|fault| told("binding with the box's account", &fault))?;
        let wanted = [config.member_of.as_str(), config.user_attribute.as_str()];
        let found = search(link, &config.base, &person_filter(config, username), &wanted, PEOPLE_MAX).await?;
        let [person] = found.as_slice() else {
            if found.len() > 1 {
                tracing::warn!("the directory has several entries for one user name; nobody is let in");
            }
            return Ok(None);
        };
        if person.dn.is_empty() {
            return Ok(None);
        }
        let mut groups = values(person, &config.member_of);
        if let Some(base) = &config.group_base {
            let filter = group_filter(config, &person.dn);
            let most = i32::try_from(GROUPS_MAX).unwrap_or(i32::MAX);
            groups.extend(search(link, base, &filter, &["1.1"], most).await?.into_iter().map(|one| one.dn));
        }
        let bound = link.with_timeout(PATIENCE).simple_bind(&person.dn, password).await;
        let bound = bound.map_err(|fault| told("binding as the user", &fault))?;
        match bound.rc {
            0 => {}
            INVALID_CREDENTIALS | INAPPROPRIATE_AUTHENTICATION | UNWILLING | CONSTRAINT => return Ok(None),
            // A referral too: it names another server, to which no password goes.
            code => return Err(Unreachable(format!("the directory answered a log-in with code {code}"))),
        }
        let name = values(person, &config.user_attribute).into_iter().next();
        Ok(name.and_then(|name| ldap::vouched(config, &person.dn, &name, &groups)))
    }
}

impl Directory for Remote {
    fn log_in(
        &self,
        username: String,
        password: Zeroizing<String>,
    ) -> Later<'_, Result<Option<Vouched>, Unreachable>> {
        let asking = self.clone();
        Box::pin(async move {
            if !worth_asking(&username, &password) {
                return Ok(None);
            }
            // Of its own: the library takes answers apart by panicking on those that are not LDAP.
            let asked = tokio::spawn(asking.ask(username, password)).await;
            asked.map_err(|_| Unreachable("the directory's answer could not be read".into()))?
        })
    }
}

async fn search(
    link: &mut ldap3::Ldap,
    base: &str,
    filter: &str,
    attributes: &[&str],
    most: i32,
) -> Result<Vec<SearchEntry>, Unreachable> {
    let options = SearchOptions::new().sizelimit(most);
    link.with_timeout(PATIENCE).with_search_options(options);
    let found = link.search(base, Scope::Subtree, filter, attributes).await;
    let ldap3::SearchResult(entries, result) = found.map_err(|fault| told("searching", &fault))?;
    // 4: more than asked for, 32: there is no such place.
    if !matches!(result.rc, 0 | 4 | 32) {
        return Err(Unreachable(format!("the directory answered a search with code {}", result.rc)));
    }
    let own = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    Ok(own.map(SearchEntry::construct).collect())
}

/// The values of an attribute, in whatever case the directory writes its name.
fn values(entry: &SearchEntry, attribute: &str) -> Vec<String> {
    let own = entry.attrs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
    own.flat_map(|(_, values)| values.iter().cloned()).collect()
}

/// What went wrong, without what was sent or said: a directory may quote names.
fn told(doing: &str, fault: &LdapError) -> Unreachable {
    let why = match fault {
        LdapError::Io { source } => source.to_string(),
        LdapError::LdapResult { result } => format!("code {}", result.rc),
        LdapError::Timeout { .. } => "no answer in time".into(),
        _ => "the connection could not be used".into(),
    };
    Unreachable(format!("{doing}: {why}"))
}
