//! Updates from a folder of a plain web server: `newest.json`, signed, says which file there is newest; the file is fetched
//! in as many goes as it takes and is no update yet, but what [`super::install`] reads.
//!
//! A server is believed nothing: not its lengths, not its dates, and no redirect is followed.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::install::Trust;
use super::slots::{read_short, sum_of};
use super::{Config, Newest, UpdateError};
use crate::tls;

/// Largest `newest.json`: every root is in it.
const NEWEST_MAX: usize = 1 << 20;
/// Longest that a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Room that is left on the disk beside it.
const SPARE_BYTES: u64 = 256 << 20;
const PART: &str = "fetched.part";
const WHOLE: &str = "fetched.update";
const MARK: &str = "fetched.json";

/// The folder's address.
///
/// # Errors
/// A sentence on what it should be.
pub fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let loopback = |url: &Url| matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let good = |url: &Url| {
        (url.scheme() == "https" || (url.scheme() == "http" && loopback(url)))
            && url.path().ends_with('/')
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    url.filter(good).ok_or_else(|| {
        "url is a folder such as \"https://updates.example.org/bedside/\", with the slash at its end; http:// only to this very \
         computer"
            .into()
    })
}

/// What is kept of a folder and of a file that is on its way.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Mark {
    url: String,
    /// The newest release that was offered there and believed.
    seen: u64,
    /// The file that [`PART`] is the beginning of, and what tells that the server still has that one.
    sha256: String,
    validator: Option<String>,
}

/// A publisher's folder.
pub struct Source {
    client: Client,
    base: Url,
    dir: PathBuf,
}

impl Source {
    /// `dir`: the folder of programs.
    ///
    /// # Errors
    /// No folder is configured, or its authorities cannot be read.
    pub fn new(config: &Config, dir: &Path) -> Result<Self, UpdateError> {
        let none = "no server is configured to fetch updates from: [update] url = \"https://…/\"";
        let url = config.url.as_ref().ok_or_else(|| UpdateError::NotNow(none.into()))?;
        let base = address(url).map_err(UpdateError::NotNow)?;
        let settings = tls::Settings { ca_file: config.ca_file.clone(), ..tls::Settings::default() };
        let trust = settings.client().map_err(UpdateError::NotNow)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*trust).clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // What is signed is the file, not what a server packs it into.
            .no_gzip()
            .user_agent(concat!("bedside/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .build()
            .map_err(|fault| UpdateError::NotNow(fault.to_string()))?;
        Ok(Self { client, base, dir: dir.into() })
    }

    fn mark(&self) -> Mark {
        let read = read_short(&self.dir.join(MARK)).ok();
        let mark = read.and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
        let fresh = || Mark { url: self.base.to_string(), ..Mark::default() };
        mark.filter(|mark| mark.url == self.base.as_str()).unwrap_or_else(fresh)
    }

    fn keep(&self, mark: &Mark) -> Result<(), UpdateError> {
        let (path, part) = (self.dir.join(MARK), self.dir.join("fetched.json.part"));
        let text = serde_json::to_vec(mark).unwrap_or_default();
        let written = fs::write(&part, text).and_then(|()| fs::rename(&part, &path));
        written.map_err(UpdateError::disk(&path))
    }

    fn away(&self, why: impl std::fmt::Display) -> UpdateError {
        let host = self.base.host_str().unwrap_or_default();
        UpdateError::Away(format!("{host} did not give it: {why}. What came so far is kept; ask again later"))
    }

    async fn get(&self, name: &str, range: Option<(u64, &str)>) -> Result<Response, UpdateError> {
        let url = self.base.join(name).map_err(|fault| self.away(fault))?;
        let mut draft = self.client.get(url);
        if let Some((from, validator)) = range {
            draft = draft.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, validator);
        }
        draft.send().await.map_err(|fault| self.away(fault.without_url()))
    }

    /// What is newest there, and believed.
    ///
    /// # Errors
    /// [`UpdateError::Away`], or why it is not believed.
    pub async fn newest(&self, trust: &Trust) -> Result<Newest, UpdateError> {
        let mut answer = self.get("newest.json", None).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.away(format_args!("newest.json: status {}", answer.status().as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|fault| self.away(fault.without_url()))? {
            if bytes.len() + piece.len() > NEWEST_MAX {
                return Err(UpdateError::Metadata("newest.json is larger than 1 MiB".into()));
            }
            bytes.extend_from_slice(&piece);
        }
        let mut mark = self.mark();
        let newest = trust.newest(&bytes, mark.seen)?;
        if newest.version > mark.seen {
            mark.seen = newest.version;
            self.keep(&mark)?;
        }
        Ok(newest)
    }

    /// Fetches what is newest, from where it stopped the last time; where it is then, with the signed length and SHA-256.
    ///
    /// # Errors
    /// [`UpdateError::Away`] when it stopped again; [`UpdateError::Mismatch`] when it is not what was signed.
    pub async fn download(&self, newest: &Newest) -> Result<PathBuf, UpdateError> {
        let (part, whole) = (self.dir.join(PART), self.dir.join(WHOLE));
        let is = |path: &Path| {
            sum_of(path, newest.length).is_ok_and(|found| found == (newest.length, newest.sha256.clone()))
        };
        if is(&whole) {
            return Ok(whole);
        }
        drop(fs::remove_file(&whole));
        let mut have = self.have(newest, &part);
        if have < newest.length {
            let room =
                rustix::fs::statvfs(&self.dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            if room < newest.length - have + SPARE_BYTES {
                return Err(UpdateError::NotNow("the disk has no room for the update".into()));
            }
            let answer = self.rest(newest, &mut have).await?;
            self.write(newest, answer, have, &part).await?;
        }
        if !is(&part) {
            drop(fs::remove_file(&part));
            let why = "the file's SHA-256 is another than was signed; it is fetched anew the next time";
            return Err(UpdateError::Mismatch(why.into()));
        }
        fs::rename(&part, &whole).map_err(UpdateError::disk(&whole))?;
        Ok(whole)
    }

    /// How much is here that can be gone on with.
    fn have(&self, newest: &Newest, part: &Path) -> u64 {
        let mark = self.mark();
        let length = fs::metadata(part).map_or(0, |about| about.len());
        let goes_on = mark.sha256 == newest.sha256 && mark.validator.is_some() && length <= newest.length;
        if goes_on { length } else { 0 }
    }

    /// The answer with what is missing; it begins at `have`, which is 0 where the server begins anew.
    async fn rest(&self, newest: &Newest, have: &mut u64) -> Result<Response, UpdateError> {
        let mut mark = self.mark();
        let range = mark.validator.as_deref().filter(|_| *have > 0).map(|validator| (*have, validator));
        let mut answer = self.get(&newest.file, range).await?;
        if range.is_some() && answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            answer = self.get(&newest.file, None).await?;
        }
        let said = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if range.is_some() => {
                let wanted = format!("bytes {have}-{}/{}", newest.length - 1, newest.length);
                if said(CONTENT_RANGE) != Some(wanted.as_str()) {
                    return Err(UpdateError::Mismatch(
                        "the server sends another part than was asked for".into(),
                    ));
                }
            }
            StatusCode::OK => *have = 0,
            status => return Err(self.away(format_args!("status {}", status.as_u16()))),
        }
        let length = said(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        if length.is_some_and(|length| length != newest.length - *have) {
            return Err(UpdateError::Mismatch(format!(
                "the server's file has another length than the {} bytes that were signed",
                newest.length
            )));
        }
        mark.sha256.clone_from(&newest.sha256);
        mark.validator = validator(answer.headers());
        self.keep(&mark)?;
        Ok(answer)
    }

    async fn write(
        &self,
        newest: &Newest,
        mut answer: Response,
        mut have: u64,
        part: &Path,
    ) -> Result<(), UpdateError> {
        let fail = UpdateError::disk(part);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(part);
        let mut file = opened.map_err(fail)?;
        file.set_len(have).and_then(|()| file.seek(SeekFrom::Start(have))).map_err(fail)?;
        let broke = loop {
            match answer.chunk().await {
                Ok(Some(piece)) => {
                    have += piece.len() as u64;
                    if have > newest.length {
                        drop(fs::remove_file(part));
                        let why = "the server sends more than was signed; it is fetched anew the next time";
                        return Err(UpdateError::Mismatch(why.into()));
                    }
                    file.write_all(&piece).map_err(fail)?;
                }
                Ok(None) => break None,
                Err(fault) => break Some(fault.without_url().to_string()),
            }
        };
        file.sync_all().map_err(fail)?;
        if have == newest.length {
            return Ok(());
        }
        let why = broke.unwrap_or_else(|| "it ended early".into());
        Err(self.away(format_args!("{have} of {} bytes are here: {why}", newest.length)))
    }
}

/// What tells one version of a file from another (RFC 9110 §13.1.5: If-Range takes no weak one).
fn validator(headers: &HeaderMap) -> Option<String> {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(String::from);
    said(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| said(LAST_MODIFIED))
}
