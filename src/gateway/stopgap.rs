//! A box whose disk is full or cannot be written does not start and stop again and again: it says why, at the desk and to
//! its console, answers no device, and goes on by itself when the disk can be used.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Console, GatewayError, desk, opening};
use crate::admin;
use crate::buffer::{Buffer, BufferError};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::Stop;
use crate::secret::SecretStore;

/// How often the disk is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens the buffer, however long that takes; `None` when the box was stopped meanwhile.
pub(super) async fn open(
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    mut stop: Stop,
    console: &dyn Console,
) -> Result<Option<Buffer>, GatewayError> {
    let fault = match Buffer::open(&config.buffer, clock.clone()) {
        Ok(buffer) => return Ok(Some(buffer)),
        Err(fault) if fault.may_pass() => fault,
        Err(fault) => return Err(opening(fault)),
    };
    let words = words(&fault);
    tracing::error!(why = words, "The box waits for its disk; no device is answered.");
    console.say(&words);
    let (tell, why) = watch::channel(words);
    let (done, over) = oneshot::channel::<()>();
    let serving = match &config.desk {
        Some(section) => {
            let (listener, identity) = desk::bind(section, config, secrets, clock).await?;
            Some(tokio::spawn(async move {
                // Dropped, it says the same as sent.
                let over = async { drop(over.await) };
                admin::serve_why_not(listener, &identity, why, over).await;
            }))
        }
        None => None,
    };
    let opened = wait(config, clock, &mut stop, &tell).await;
    drop(done);
    if let Some(serving) = serving {
        // The port must be free for the desk that follows; a fault in this one is none of that one.
        drop(serving.await);
    }
    if matches!(opened, Ok(Some(_))) {
        tracing::info!("The disk can be used; the box starts.");
        console.say("The disk can be used again.");
    }
    opened
}

async fn wait(
    config: &Config,
    clock: &SharedClock,
    stop: &mut Stop,
    tell: &watch::Sender<String>,
) -> Result<Option<Buffer>, GatewayError> {
    loop {
        // For systemd the box is up: to end and start it again would help nobody.
        let status = sd_notify::NotifyState::Status(&tell.borrow());
        let _no_systemd =
            sd_notify::notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Watchdog, status]);
        tokio::select! {
            () = stop.wait() => return Ok(None),
            () = tokio::time::sleep(AGAIN) => {}
        }
        let (buffer, clock) = (config.buffer.clone(), clock.clone());
        let tried = tokio::task::spawn_blocking(move || Buffer::open(&buffer, clock)).await;
        match tried.map_err(|fault| GatewayError::Failed(fault.to_string()))? {
            Ok(buffer) => return Ok(Some(buffer)),
            Err(fault) if fault.may_pass() => {
                let words = words(&fault);
                tell.send_if_modified(|said| {
                    let news = *said != words;
                    *said = words;
                    news
                });
            }
            Err(fault) => return Err(opening(fault)),
        }
    }
}

/// What is wrong and what comes of it, for somebody who stands before the box.
fn words(fault: &BufferError) -> String {
    let told = fault.to_string();
    let text = told.to_lowercase();
    let (what, then) = if text.contains("read-only") || text.contains("readonly") {
        ("is read-only", "when it can be written")
    } else if text.contains("full") || text.contains("space") || text.contains("quota") {
        ("is full", "as soon as there is room")
    } else {
        ("cannot be used", "when it can be used")
    };
    format!(
        "The disk of this box {what} ({told}). No device is answered: each keeps what it has to say. Nothing that was \
         acknowledged is lost. Bedside goes on by itself {then}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_tell_a_full_disk_from_one_that_cannot_be_written() {
        let folder = |kind: std::io::ErrorKind| BufferError::Folder {
            path: "/var/lib/bedside".into(),
            source: kind.into(),
        };
        let read_only = folder(std::io::ErrorKind::ReadOnlyFilesystem);
        assert!(
            read_only.may_pass() && words(&read_only).contains("is read-only (/var/lib/bedside"),
            "{}",
            words(&read_only)
        );
        let full = folder(std::io::ErrorKind::StorageFull);
        assert!(full.may_pass() && words(&full).contains("is full"), "{}", words(&full));
        assert!(!folder(std::io::ErrorKind::PermissionDenied).may_pass(), "somebody must change something");
    }
}
