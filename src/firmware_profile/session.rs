//! `[session]`: the only bytes that may be sent to a device, checked against what would command it.

use std::time::Duration;

use super::section::{At, Section};
use crate::wire::notation::bytes_of;
use crate::wire::session::{Ask, Dialogue};
use crate::wire::{self, Codec};

/// Commands that act on a patient or on a device's memory, on wires that are also read: no page may send bytes that
/// contain them. Each with what it does.
const COMMANDS: &[(&str, &str)] = &[
    // Alaris Asena/GH (mdpnp, Asena.java; the queries INF, INF_VTBI| and INST_SERIALNO change nothing)
    ("INF_START", "starts an infusion"),
    ("INF_STOP", "stops an infusion"),
    ("INF_RATE^", "sets the rate of an infusion"),
    ("INF_VTBI^", "sets the volume of an infusion"),
    ("INF_BOLUS", "gives a bolus"),
    ("INF_VI_CLEAR", "clears an infused volume"),
    ("REMOTE_CTRL", "takes remote control of a pump"),
    ("REMOTE_CFG", "configures a pump"),
    ("REMQUERY", "changes what a pump asks at the bedside"),
    // Baxter AS50 (mdpnp)
    ("PRIRATE", "sets the rate of an infusion"),
    // B. Braun Space BCC: everything but MEM:GET and ADMIN:ALIVE
    ("MEM:PUT", "writes to a pump"),
    ("MEM:SET", "writes to a pump"),
    // LifeScan OneTouch (glucometerutils)
    ("DMZ", "erases a meter's memory"),
    ("DMT", "sets a meter's clock"),
    ("DMSU", "changes a meter's unit"),
];

/// Reads `[session]`. `codec` takes the frames apart, so that a stuffed command is seen too.
pub(super) fn read(section: Section<'_>, codec: Option<&Codec>) -> Dialogue {
    let own: Vec<Vec<u8>> = section.texts("never").iter().filter_map(|text| bytes(&section, text)).collect();
    let harmless = Harmless { codec, own: &own };
    let asks = |key, timed| {
        let sections = section.sections(key).into_iter();
        sections.filter_map(|one| ask(one, timed, &harmless)).collect::<Vec<_>>()
    };
    let dialogue = Dialogue {
        on_connect: asks("on_connect", false),
        poll: asks("poll", true),
        keep_alive: asks("keep_alive", true),
        reply: section.sections("reply").into_iter().filter_map(|one| reply(one, &harmless)).collect(),
    };
    section.finish();
    dialogue
}

fn ask(section: Section<'_>, timed: bool, harmless: &Harmless<'_>) -> Option<Ask> {
    let send = section.required("send").and_then(|text| harmless.bytes(&section, &text));
    let expect = section.texts("expect").iter().filter_map(|text| bytes(&section, text)).collect();
    let every = timed.then(|| section.integer("every_ms", 10..=86_400_000)).flatten();
    if timed && !section.has("every_ms") {
        section.fault(section.span.clone(), format!("{} needs `every_ms`", section.name));
    }
    let every = every.map_or(3_600_000, |at| at.value);
    let timeout = section.integer("timeout_ms", 10..=600_000).map_or_else(|| every.min(3000), |at| at.value);
    let retries = section.integer("retries", 0..=20).and_then(|at| u32::try_from(at.value).ok());
    section.finish();
    Some(Ask {
        send: send?,
        every: Duration::from_millis(every),
        expect,
        timeout: Duration::from_millis(timeout),
        retries: retries.unwrap_or(0),
    })
}

fn reply(section: Section<'_>, harmless: &Harmless<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let after = section.required("after").and_then(|text| bytes(&section, &text));
    let send = section.required("send").and_then(|text| harmless.bytes(&section, &text));
    section.finish();
    Some((after?, send?))
}

fn bytes(section: &Section<'_>, text: &At<String>) -> Option<Vec<u8>> {
    bytes_of(&text.value).map_err(|error| section.fault(text.span.clone(), error)).ok()
}

/// Looks at every byte string a page wants to send.
struct Harmless<'c> {
    codec: Option<&'c Codec>,
    /// The page's own list.
    own: &'c [Vec<u8>],
}

impl Harmless<'_> {
    fn bytes(&self, section: &Section<'_>, text: &At<String>) -> Option<Vec<u8>> {
        let sent = bytes(section, text)?;
        let framed = self.codec.map(|codec| wire::frames(codec, &sent)).unwrap_or_default();
        let known = COMMANDS.iter().map(|(command, does)| (command.as_bytes(), *does));
        let own = self.own.iter().map(|command| (command.as_slice(), "is on the page's own list"));
        let found = known.chain(own).find(|(command, _)| {
            let holds = |bytes: &[u8]| memchr::memmem::find(bytes, command).is_some();
            !command.is_empty() && (holds(&sent) || framed.iter().any(|frame| holds(frame)))
        });
        if let Some((command, does)) = found {
            let command = command.escape_ascii();
            let message = format!("`{command}` is never sent to a device: it {does}; a gateway only reads");
            section.fault(text.span.clone(), message);
            return None;
        }
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use crate::firmware_profile::{FirmwareProfile, Library};

    fn page(link: &str, session: &str) -> String {
        format!(
            "[device]\nmanufacturer = \"A\"\nmodel = \"B\"\nverified = \"simulator\"\n[link]\n{link}\n[session]\n{session}\n\
             [record]\ngrammar = \"key-value\"\n[[metric]]\nmatch = \"X\"\nlabel = \"X\"\n"
        )
    }

    fn fault(link: &str, session: &str) -> String {
        let faults = FirmwareProfile::parse("a/b", &page(link, session)).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_session_reads_into_a_dialogue() {
        let session = "on_connect = [{ send = '\\x05', expect = '6510', timeout_ms = 500, retries = 2 }]\n\
                       poll = [{ send = \"SNDA\\r\", every_ms = 1000 }]\nreply = [{ after = 'Q', send = 'hex:06' }]";
        let profile = FirmwareProfile::parse("a/b", &page("codec = \"lines\"", session)).unwrap();
        let allowed: Vec<&[u8]> = profile.session.allowed().collect();
        assert_eq!(allowed, [b"\x05".as_slice(), b"SNDA\r", b"\x06"]);
        assert_eq!(profile.session.on_connect[0].retries, 2);
    }

    #[test]
    fn a_command_is_refused_as_it_is_and_stuffed() {
        for (command, _) in super::COMMANDS {
            let said =
                fault("codec = \"lines\"", &format!("poll = [{{ send = 'x{command}y', every_ms = 1000 }}]"));
            assert!(said.contains("never sent to a device"), "{command}: {said}");
        }
        let stuffed =
            "codec = \"delimited\"\nstart = '\\x01'\nend = '\\x04'\nescape = { pairs = { 'EE' = 'E' } }";
        let said = fault(stuffed, "poll = [{ send = '\\x01MEEM:SEET\\x04', every_ms = 1000 }]");
        assert!(said.contains("`MEM:SET` is never sent"), "{said}");
        let said = fault("codec = \"lines\"", "never = ['RESET']\non_connect = [{ send = 'RESET' }]");
        assert!(said.contains("page's own list"), "{said}");
    }

    #[test]
    fn mistakes_are_told() {
        for (session, word) in [
            ("poll = [{ send = 'x' }]", "needs `every_ms`"),
            ("poll = [{ send = 'hex:0g', every_ms = 1000 }]", "02 70 03"),
            ("on_connect = [{ snd = 'x', send = 'y' }]", "unknown key `snd`"),
            ("reply = [{ send = 'x' }]", "needs `after`"),
        ] {
            let said = fault("codec = \"lines\"", session);
            assert!(said.contains(word), "{session}: {said}");
        }
    }

    /// What a session and its codec may ever put on the wire: the listed strings and the codec's fixed answers.
    #[test]
    fn a_link_of_any_profile_sends_only_listed_bytes_whatever_it_hears() {
        use std::time::Duration;

        use crate::demo::template::Dice;
        use crate::wire::{self, Answer, Codec, Step};
        let library = Library::embedded().unwrap();
        let mut spoke = 0;
        for profile in library.profiles() {
            let own: Vec<Vec<u8>> = match &profile.codec {
                Codec::Delimited(settings) => vec![settings.ack.clone(), settings.nak.clone()],
                Codec::Lines(_) | Codec::Message(_) => Vec::new(),
                // A codec with a session of its own proves its own answers; a dialogue around one is not used.
                _ => {
                    assert!(
                        profile.session.is_empty(),
                        "{}: [session] around a codec with its own",
                        profile.id
                    );
                    continue;
                }
            };
            let captures = library.captures(&profile.id);
            for seed in 0..20 {
                let mut dice = Dice(seed);
                let mut framer = wire::session::framer(wire::framer(&profile.codec), &profile.session);
                let mut now = Duration::ZERO;
                for _ in 0..60 {
                    let mut bytes: Vec<u8> =
                        (0..dice.below(40)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
                    if dice.below(2) == 0 && !captures.is_empty() {
                        let at = usize::try_from(dice.below(captures.len() as u64)).unwrap();
                        bytes.extend(&captures[at].1);
                    }
                    bytes.extend(profile.session.on_connect.iter().flat_map(|ask| ask.expect.concat()));
                    framer.feed(&bytes, now);
                    now += Duration::from_millis(dice.below(3000));
                    framer.tick(now);
                    while let Some(step) = framer.step() {
                        match step {
                            Step::Send(sent) => {
                                let listed = profile.session.allowed().any(|allowed| allowed == sent);
                                assert!(
                                    listed || own.contains(&sent),
                                    "{} sent {:?}",
                                    profile.id,
                                    sent.escape_ascii().to_string()
                                );
                                spoke += 1;
                            }
                            Step::Frame { ticket, .. } => {
                                let kept = if dice.below(4) == 0 {
                                    Answer::Refused { body: None }
                                } else {
                                    Answer::Kept { body: None }
                                };
                                framer.answer(ticket, kept, now);
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        assert!(spoke > 0 || library.profiles().all(|profile| profile.session.is_empty()));
    }
}
