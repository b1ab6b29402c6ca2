//! Serial lines that bring noise, and devices that are unplugged.

use std::sync::Arc;
use std::time::Duration;

use bedside::demo::pty::Pty;
use bedside::demo::template::Dice;
use tokio::sync::Mutex;

use crate::proof::clinic::{Clinic, Plan};
use crate::{nothing_is, rounds, seed};

/// Noise of a line: whatever may be heard when a plug is moved.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let length = 1 + dice.below(400) as usize;
    match dice.below(5) {
        0 => vec![0; length],
        1 => vec![0xff; length],
        // ENQ, as a device that does not give up.
        2 => vec![0x05; 1 + length % 20],
        // XON, XOFF, and beginnings of frames.
        3 => [0x11, 0x13, 0x02, b'1', b'H', b'|', 0x03].repeat(1 + length % 9),
        _ => (0..length).map(|_| dice.below(256) as u8).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_the_line_and_a_pulled_plug_cost_no_result() {
    let mut dice = Dice(seed());
    let plan = Plan { ways: &[2], ..Plan::of("noise") };
    let mut clinic = Clinic::open(plan).await;
    let running = clinic.started();
    for _ in 0..12 * rounds() {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(200))).await;
        let line: Arc<Mutex<Pty>> = Arc::clone(&clinic.line);
        // Held: the analyser is between two sessions.
        let mut line = line.lock().await;
        if dice.below(3) == 0 {
            // Unplugged, and plugged in again as another port behind the same name.
            let path = clinic.dir.path().join("analyser");
            // The old one takes its name with it, so it goes first.
            *line = Pty::open(None).unwrap();
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
            *line = Pty::open(Some(&path)).unwrap();
        } else {
            line.write_all(&noise(&mut dice)).await.unwrap();
        }
    }
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    // What the noise began is held for a person, as it must be: it was acknowledged nowhere.
    let of_noise =
        |text: &str| text.starts_with("held on analyser") || text.contains("beginnings are still held");
    let wrong: Vec<_> = wrong.into_iter().filter(|one| !of_noise(&one.text)).collect();
    nothing_is(&wrong);
}
