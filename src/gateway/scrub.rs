//! Verifies what is kept while the box is idle: a megabyte a second, a pass a week.

use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{Buffer, Change, Reader, Scrub};
use crate::connector::Stop;
use crate::gateway::metrics::Metrics;

/// How often a step is taken, and how much it reads: 20 GB in six hours.
const EVERY: Duration = Duration::from_secs(1);
const STEP_BYTES: usize = 1 << 20;
/// Commits within one step's time that make a box a busy one.
const BUSY_COMMITS: u64 = 20;
/// Steps between two notes of how far it is: what a restart verifies again.
const NOTED_EVERY: u32 = 120;
/// From the end of one pass to the beginning of the next.
const PASS_EVERY: Duration = Duration::from_secs(7 * 86_400);

/// Runs until told to stop.
pub(super) async fn run(buffer: Buffer, metrics: Arc<Metrics>, mut stop: Stop) {
    let reader = buffer.reader();
    let mut scrub = reader.scrubbed().await.unwrap_or_default();
    let (mut commits, mut steps) = (0, 0);
    loop {
        metrics.scrub(&scrub);
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let figures = reader.figures();
        let busy = figures.commits.saturating_sub(commits) > BUSY_COMMITS;
        commits = figures.commits;
        if busy || !reader.health().writing || !due(&reader, &scrub) {
            continue;
        }
        let was = scrub;
        if step(&reader, &mut scrub).await {
            steps += 1;
        }
        let news = scrub.passed != was.passed || scrub.found > was.found || steps >= NOTED_EVERY;
        if news && scrub != was {
            steps = 0;
            if let Err(fault) = buffer.change(vec![Change::Scrubbed(scrub)]).await {
                tracing::warn!(%fault, "How far the verification has come could not be written down.");
            }
        }
    }
}

fn due(reader: &Reader, scrub: &Scrub) -> bool {
    let since_the_last = reader.now().micros.saturating_sub(scrub.passed);
    scrub.began != 0 || since_the_last >= i64::try_from(PASS_EVERY.as_micros()).unwrap_or(i64::MAX)
}

/// Whether anything was verified.
async fn step(reader: &Reader, scrub: &mut Scrub) -> bool {
    match reader.verify(scrub.through, STEP_BYTES).await {
        Ok(verified) => {
            scrub.advanced(&verified, reader.now());
            if verified.end {
                tracing::info!(changed = scrub.passed_found, "Everything kept was verified.");
            }
            true
        }
        Err(fault) => {
            tracing::error!(%fault, "What is kept could not be verified.");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Config, NewFrame};
    use crate::clock::{Clock, TestClock};

    #[tokio::test]
    async fn a_pass_goes_on_where_it_stopped_and_the_next_is_a_week_later() {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(1_795_305_600_000_000);
        let config = Config { dir: dir.path().into(), ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        for n in 0..3_u8 {
            let frame = NewFrame {
                link: "ward".into(),
                peer: "peer".into(),
                received: clock.now(),
                bytes: vec![n; 700_000].into(),
                topic: None,
                dedupe: false,
                warnings: Vec::new(),
                held: None,
            };
            buffer.keep(frame).await.unwrap();
        }
        let reader = buffer.reader();
        let mut scrub = reader.scrubbed().await.unwrap();
        assert!(due(&reader, &scrub));
        let first = reader.verify(0, 1).await.unwrap();
        assert_eq!((first.through, first.frames, first.end), (1, 1, false));
        scrub.advanced(&first, reader.now());
        buffer.change(vec![Change::Scrubbed(scrub)]).await.unwrap();
        let mut scrub = reader.scrubbed().await.unwrap();
        assert_eq!(scrub.through, 1, "a restart goes on from here");
        while scrub.passed == 0 {
            assert!(step(&reader, &mut scrub).await);
        }
        assert!(!due(&reader, &scrub));
        clock.advance(PASS_EVERY);
        assert!(due(&reader, &scrub));
    }
}
