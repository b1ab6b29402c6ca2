//! The way a server is written to: not decided by a garbled answer, and kept over restarts.

use std::sync::{Arc, Mutex};

use bedside::demo::fhir_server::{Fault, On};
use bedside::upstream::keys::Algorithm;
use bedside::upstream::{Kept, Memory, ModeWish};

use crate::upstream::{entries, letters, reason};
use crate::{assert_there_once, connect_again, pair, usual};

/// What a box keeps on its disk; `broken`: nothing.
#[derive(Clone, Default)]
struct Disk {
    kept: Arc<Mutex<Option<String>>>,
    broken: bool,
}

impl Memory for Disk {
    fn recall(&self) -> Kept<'_, Option<String>> {
        Box::pin(async { Ok(self.kept.lock().unwrap().clone()) })
    }

    fn keep(&self, way: String) -> Kept<'_, ()> {
        Box::pin(async move {
            if self.broken {
                return Err("the disk is full".into());
            }
            *self.kept.lock().unwrap() = Some(way);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_does_not_decide_how_a_server_is_written_to() {
    let (server, up) = usual().await;
    let entries = entries("portal", 3);
    for fault in [Fault::Html, Fault::CommitThenTruncated, Fault::HtmlStatus(502), Fault::HtmlStatus(302)] {
        server.faults.once(On::Metadata, fault);
        assert_eq!(letters(&up.deliver(&entries).await), "TTT");
        assert_eq!(up.state().mode, None);
    }
    let verdicts = up.deliver(&entries).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().mode), ("AAA", Some("put")));
    assert_there_once(&server.store, &entries, &verdicts);
}

#[tokio::test]
async fn the_way_a_server_was_written_to_is_kept_over_a_restart_whatever_it_says_then() {
    for (takes_ids, way) in [(true, "put"), (false, "conditional")] {
        let server_kind = |config: &mut bedside::demo::fhir_server::Config| {
            config.takes_ids = takes_ids;
            config.says_update_create = Some(takes_ids);
        };
        let (server, up) = pair(Algorithm::Es384, server_kind, |_| ()).await;
        let disk = Disk::default();
        up.remembers(Box::new(disk.clone()));
        let entries = entries("restart", 3);
        let verdicts = up.deliver(&entries).await;
        assert_eq!((letters(&verdicts).as_str(), up.state().mode), ("AAA", Some(way)));
        for fault in [Fault::Html, Fault::Status(404), Fault::CommitThenTruncated] {
            let restarted = connect_again(&server, ModeWish::Auto);
            restarted.remembers(Box::new(disk.clone()));
            server.faults.once(On::Metadata, fault);
            let verdicts = restarted.deliver(&entries).await;
            assert_eq!((letters(&verdicts).as_str(), restarted.state().mode), ("AAA", Some(way)));
            assert_there_once(&server.store, &entries, &verdicts);
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_in_a_way_that_could_not_be_kept() {
    let (server, up) = usual().await;
    up.remembers(Box::new(Disk { broken: true, ..Disk::default() }));
    let verdicts = up.deliver(&entries("unkept", 2)).await;
    assert_eq!((letters(&verdicts).as_str(), server.store.count()), ("TT", 0));
    assert!(reason(&verdicts).contains("the disk is full"), "{}", reason(&verdicts));
}
