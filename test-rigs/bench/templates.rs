//! How many messages a second become transaction Bundles by template: an admission and a laboratory report.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bedside::clock::Timestamp;
use bedside::device::Identifier;
use bedside::fhir::{Mode, Transaction};
use bedside::firmware_profile::LinkContext;
use bedside::hl7v2::{Charset, Message};
use bedside::template::{Context, Library};
use bedside::translate::Gateway;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(300);

pub(crate) fn run() {
    let library = Library::embedded().unwrap();
    let link = LinkContext::new("bench", "UTC", Timestamp::from_micros(1_773_477_000_000_000, true)).unwrap();
    let gateway = Gateway {
        id: Identifier { system: "urn:x".into(), value: "bench".into(), kind: None },
        name: "Bench".into(),
        version: "0".into(),
        patient_system: None,
    };
    let context = Context { link: &link, gateway: &gateway, simulated: false };
    println!("\nHL7 v2 to FHIR by template (medians of {ROUNDS} rounds, one thread)");
    println!("  message      bytes  resources  Bundles/s");
    for name in ["adt-a01", "oru-lab"] {
        let path = format!("{}/firmware-profiles/templates/tests/{name}.hl7", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let bundle = || {
            let message = Message::parse(black_box(&bytes), Charset::default()).message.unwrap();
            let made = library.convert(&message, &context).unwrap();
            let mut transaction = Transaction::new(Mode::Conditional);
            made.resources.iter().for_each(|one| transaction.add(one));
            (transaction.json(), made.resources.len())
        };
        let (text, resources) = bundle();
        assert!(text.contains("transaction") && resources > 10);
        let rate = super::median((0..ROUNDS).map(|_| {
            let (began, mut count) = (Instant::now(), 0_u32);
            while began.elapsed() < ROUND {
                black_box(bundle());
                count += 1;
            }
            f64::from(count) / began.elapsed().as_secs_f64()
        }));
        println!("  {name:<10} {:>7} {resources:>10} {rate:>10.0}", bytes.len());
    }
}
