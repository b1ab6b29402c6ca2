//! `bedside selftest`: does this binary work on this machine? Each part it stands on is really used once.

use std::sync::Arc;

use super::{CliError, install_crypto, runtime, say, say_json};
use crate::access;
use crate::admin;
use crate::buffer::{self, Buffer, NewFrame};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::demo::pty::Pty;
use crate::firmware_profile::{Library, LinkContext};
use crate::upstream::keys::{self, Algorithm, SigningKey};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

type Check = (&'static str, fn() -> Result<String, String>);

const CHECKS: [Check; 9] = [
    ("clock", clock),
    ("time zones", zones),
    ("storage", storage),
    ("signatures", signatures),
    ("passwords", passwords),
    ("TLS", tls),
    ("serial", serial),
    ("profiles", profiles),
    ("desk", desk),
];

pub(super) fn main(arguments: &Arguments) -> Result<(), CliError> {
    install_crypto();
    let mut results: Vec<_> = CHECKS.into_iter().map(|(name, check)| (name, check())).collect();
    if cfg!(feature = "sabotage") {
        results.push(("build", Err(crate::sabotage::VERSION.into())));
    }
    let failures = results.iter().filter(|(_, r)| r.is_err()).count();
    if arguments.json {
        let checks: Vec<_> = results
            .iter()
            .map(|(name, r)| {
                let (ok, detail) = match r {
                    Ok(detail) => (true, detail),
                    Err(detail) => (false, detail),
                };
                serde_json::json!({"name": name, "ok": ok, "detail": detail})
            })
            .collect();
        say_json(
            &serde_json::json!({"ok": failures == 0, "version": crate::sabotage::VERSION, "checks": checks}),
        );
    } else {
        for (name, result) in &results {
            match result {
                Ok(detail) => say(format!("ok      {name:<11} {detail}")),
                Err(detail) => say(format!("FAILED  {name:<11} {detail}")),
            }
        }
    }
    if failures == 0 {
        Ok(())
    } else {
        Err(CliError::failed(format!("{failures} of {} checks failed", CHECKS.len())))
    }
}

fn text(fault: impl std::fmt::Display) -> String {
    fault.to_string()
}

fn clock() -> Result<String, String> {
    let now = SystemClock::default().now();
    // 2026-01-01: before it no Bedside existed, so the clock of the box is not set.
    if now.micros < 1_767_225_600_000_000 {
        return Err(format!("it is {} here; set the clock", now.rfc3339()));
    }
    Ok(format!(
        "{}, {}",
        now.rfc3339(),
        if now.synchronised { "synchronised" } else { "not known to be synchronised" }
    ))
}

fn zones() -> Result<String, String> {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").map_err(text)?;
    let summer = jiff::civil::date(2026, 7, 1).at(12, 0, 0, 0).to_zoned(zone).map_err(text)?;
    if summer.offset().seconds() == 7200 {
        Ok("Europe/Berlin is +02:00 in July".into())
    } else {
        Err("wrong offsets".into())
    }
}

fn storage() -> Result<String, String> {
    let folder = std::env::temp_dir().join(format!("bedside-selftest-{}", uuid::Uuid::new_v4().simple()));
    let done = runtime().map_err(text)?.block_on(async {
        let config = buffer::Config { dir: folder.clone(), ..buffer::Config::default() };
        let buffer = Buffer::open(&config, Arc::new(SystemClock::default())).map_err(text)?;
        let frame = NewFrame {
            link: "selftest".into(),
            peer: "selftest".into(),
            received: SystemClock::default().now(),
            bytes: bytes::Bytes::from_static(b"MSH|^~\\&|"),
            topic: None,
            dedupe: true,
            warnings: Vec::new(),
            held: None,
        };
        let first = buffer.keep(frame.clone()).await.map_err(text)?;
        let second = buffer.keep(frame).await.map_err(text)?;
        let entry = buffer.reader().entry(first.id).await.map_err(text)?;
        buffer.close().await;
        match entry {
            Some(entry) if entry.intact && second.duplicate => {
                Ok("kept, found again, a repetition recognised".into())
            }
            _ => Err("what was kept did not come back".to_string()),
        }
    });
    std::fs::remove_dir_all(&folder).map_err(text)?;
    done
}

fn signatures() -> Result<String, String> {
    for algorithm in [Algorithm::Es384, Algorithm::Rs384] {
        let pem = keys::generate(algorithm).map_err(text)?;
        let key = SigningKey::from_pem(pem.expose()).map_err(text)?;
        key.try_out().map_err(text)?;
    }
    Ok("ES384 and RS384 sign".into())
}

fn passwords() -> Result<String, String> {
    let hash = access::hash_password("correct horse battery").map_err(text)?;
    let right = access::verify_password("correct horse battery", Some(&hash));
    let wrong = access::verify_password("correct horse batterx", Some(&hash));
    if right && !wrong { Ok("argon2id".into()) } else { Err("verification is wrong".into()) }
}

fn tls() -> Result<String, String> {
    let made = access::SelfMade::make("selftest", &[], SystemClock::default().now()).map_err(text)?;
    admin::Identity::try_from(&made).map_err(text)?;
    let native = rustls_native_certs::load_native_certs().certs.len();
    Ok(format!(
        "self-made certificate serves; {native} system roots, {} built in",
        webpki_roots::TLS_SERVER_ROOTS.len()
    ))
}

fn serial() -> Result<String, String> {
    runtime().map_err(text)?.block_on(async {
        let pty = Pty::open(None).map_err(text)?;
        Ok(format!("a pseudo-terminal opens ({})", pty.path.display()))
    })
}

fn profiles() -> Result<String, String> {
    let library = Library::embedded().map_err(text)?;
    library.check().map_err(text)?;
    let at = Timestamp::from_micros(1_790_000_000_000_000, true);
    let context = LinkContext::new("selftest", "Europe/Berlin", at).ok_or("no time zones")?;
    let mut count = 0;
    let mut measurements = 0;
    for profile in library.profiles() {
        count += 1;
        for (_, bytes) in library.captures(&profile.id) {
            measurements += profile.decode(&bytes, None, &context).measurements();
        }
    }
    if count == 0 || measurements == 0 {
        return Err(format!("{count} profiles, {measurements} measurements"));
    }
    Ok(format!("{count} profiles decode {measurements} measurements from their captures"))
}

fn desk() -> Result<String, String> {
    match admin::pages_built() {
        Some(files) => Ok(format!("{files} files are built in")),
        None => Err("the pages are not built in: run `npm ci --prefix web`, then build again".into()),
    }
}
