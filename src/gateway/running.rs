//! When the box ran: kept, so that the picture of the day tells a box that was off from a device that was silent.

use std::time::Duration;

use crate::admin::store::Uptime;
use crate::buffer::Buffer;
use crate::clock::{SharedClock, Timestamp};
use crate::connector::Stop;

/// After a power cut it is known to this long when the box still ran.
const MARK_EVERY: Duration = Duration::from_secs(5 * 60);

/// Writes down that the box runs, now and then, until it stops.
pub(super) async fn run(buffer: Buffer, clock: SharedClock, mut stop: Stop) {
    let mut ran = Uptime::read(buffer.reader().setting(Uptime::SETTING).await.ok().flatten().as_deref());
    ran.begin(clock.now());
    loop {
        keep(&buffer, &ran).await;
        if stop.is_told() {
            return;
        }
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(MARK_EVERY) => {}
        }
        let now: Timestamp = clock.now();
        ran.goes_on(now);
    }
}

async fn keep(buffer: &Buffer, ran: &Uptime) {
    if let Err(fault) = buffer.put_setting(Uptime::SETTING, &ran.text()).await {
        tracing::warn!(%fault, "That the box runs could not be written down.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::store::Off;
    use crate::buffer::Config;
    use crate::clock::{Clock, TestClock};

    async fn kept(buffer: &Buffer) -> Option<String> {
        buffer.reader().setting(Uptime::SETTING).await.unwrap()
    }

    #[tokio::test]
    async fn a_box_that_was_stopped_and_started_again_was_off_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(1_774_267_200_000_000);
        let config = Config { dir: dir.path().into(), ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let began = clock.now();
        let once = || async {
            let (switch, stop) = Stop::pair();
            let running = tokio::spawn(run(buffer.clone(), clock.clone(), stop));
            let mark = clock.now().micros.to_string();
            while !kept(&buffer).await.is_some_and(|text| text.contains(&mark)) {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(600));
            switch.send_replace(true);
            running.await.unwrap();
        };
        once().await;
        let stopped = clock.now();
        clock.advance(Duration::from_secs(7200));
        let again = clock.now();
        once().await;
        let ran = Uptime::read(kept(&buffer).await.as_deref());
        assert_eq!(ran.off(began), [Off { from: stopped, until: again }]);
    }
}
