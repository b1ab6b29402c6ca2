use super::*;
use crate::wire::rig::Bench;

const HELLO: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><HEL.R01><HDR><HDR.message_type V=\"HEL.R01\"/>\
    <HDR.control_id V=\"1\"/><HDR.version_id V=\"POCT1\"/><HDR.creation_dttm V=\"2006-01-01T00:00:10-05:00\"/></HDR>\
    <DEV><DEV.device_id V=\"00-11\"/><DEV.model_id V=\"TESTER\"/><DSC><DSC.connection_profile_cd V=\"SA\"/>\
    <DSC.directives_supported_cd V=\"SET_TIME\"/><DSC.directives_supported_cd V=\"START_CONTINUOUS\"/></DSC></DEV></HEL.R01>";
const DEVICE: &str = "<DEV><DEV.device_id V=\"00-11\"/><DEV.model_id V=\"TESTER\"/><DSC><DSC.connection_profile_cd \
    V=\"SA\"/><DSC.directives_supported_cd V=\"SET_TIME\"/><DSC.directives_supported_cd V=\"START_CONTINUOUS\"/></DSC></DEV>";

fn message(root: &str, control: &str, body: &str) -> String {
    format!(
        "<{root}><HDR><HDR.control_id V=\"{control}\"/><HDR.version_id V=\"POCT1\"/></HDR>{body}</{root}>\r\n"
    )
}

fn status(control: &str, quantity: u32) -> String {
    message("DST.R01", control, &format!("<DST><DST.new_observations_qty V=\"{quantity}\"/></DST>"))
}

fn observation(control: &str, value: &str) -> String {
    let body = format!("<SVC><SVC.role_cd V=\"OBS\"/><PT><OBS><OBS.value V=\"{value}\"/></OBS></PT></SVC>");
    message("OBS.R01", control, &body)
}

fn end_of_topic(control: &str) -> String {
    message("EOT.R01", control, "<EOT><EOT.topic_cd V=\"OBS\"/></EOT>")
}

fn bench() -> Bench {
    Bench::new(Poct1aFramer::new(Settings::default()))
}

/// The messages sent since the last call, each as its root and what it says.
fn said(bench: &mut Bench) -> Vec<String> {
    let text = String::from_utf8(bench.sent()).unwrap();
    let mut said = Vec::new();
    for document in text.split("<?xml version=\"1.0\" encoding=\"utf-8\"?>").filter(|part| !part.is_empty()) {
        let root = &document[1..8];
        let of = |name: &str| {
            let rest = document.split_once(&format!("<{name} V=\"")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
        };
        let words =
            ["ACK.type_cd", "ACK.ack_control_id", "REQ.request_cd", "DTV.command_cd", "TRM.reason_cd"];
        let words: Vec<String> = words.map(of).into_iter().filter(|word| !word.is_empty()).collect();
        said.push(format!("{root} {}", words.join(" ")));
    }
    said
}

#[test]
fn a_conversation_runs_from_hello_to_continuous_mode() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 1"]);
    bench.feed(status("2", 2).as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 2", "REQ.R01 ROBS"]);
    bench.feed(message("ACK.R01", "3", "<ACK><ACK.type_cd V=\"AA\"/></ACK>").as_bytes());
    bench.feed(observation("4", "7.1").as_bytes()).feed(observation("5", "6.2").as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 4", "ACK.R01 AA 5"]);
    bench.feed(end_of_topic("6").as_bytes());
    assert_eq!(said(&mut bench), ["DTV.R01 START_CONTINUOUS"]);
    bench.feed(message("KPA.R01", "7", "").as_bytes()).feed(status("8", 1).as_bytes());
    bench.feed(observation("9", "5.5").as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 7", "ACK.R01 AA 8", "ACK.R01 AA 9"]);
    bench.feed(message("END.R01", "10", "<TRM><TRM.reason_cd V=\"USR\"/></TRM>").as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 10"]);
    assert_eq!(bench.said.frames.len(), 3);
    assert!(bench.said.notes.is_empty(), "{:?}", bench.said.notes);
}

#[test]
fn a_device_without_continuous_mode_is_let_go_when_all_is_said() {
    let mut bench = bench();
    let hello = HELLO.replace("START_CONTINUOUS", "NONE");
    bench.feed(hello.as_bytes()).feed(status("2", 0).as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 1", "ACK.R01 AA 2", "END.R01 NRM"]);
}

#[test]
fn an_observation_is_acknowledged_only_when_it_is_kept() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes()).feed(status("2", 1).as_bytes());
    bench.sent();
    bench.hold = true;
    bench.feed(observation("4", "7.1").as_bytes()).feed(end_of_topic("5").as_bytes());
    assert_eq!(said(&mut bench), [""; 0]);
    let ticket = bench.open[0];
    bench.answer(ticket, Answer::Kept { body: None });
    assert_eq!(said(&mut bench), ["ACK.R01 AA 4", "DTV.R01 START_CONTINUOUS"]);
}

#[test]
fn a_refused_observation_stays_with_the_device() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes()).feed(status("2", 1).as_bytes());
    bench.sent();
    bench.refuse = 1;
    bench.feed(observation("4&amp;&lt;", "7.1").as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AE 4&amp;&lt;"]);
}

#[test]
fn the_frame_holds_the_device_and_is_the_same_when_it_is_sent_again() {
    let frame = |hello: &str, control: &str| {
        let mut bench = bench();
        bench.feed(hello.as_bytes()).feed(observation(control, "7.1").as_bytes());
        bench.said.messages()
    };
    let first = frame(HELLO, "4");
    let again = frame(&HELLO.replace("V=\"1\"", "V=\"77\"").replace("00:00:10", "00:31:10"), "78");
    assert_eq!(first, again);
    assert_eq!(first.len(), 1);
    assert!(first[0].contains(DEVICE), "{}", first[0]);
    assert!(first[0].ends_with("</SVC></OBS.R01>") && !first[0].contains("HDR"), "{}", first[0]);
}

#[test]
fn any_cut_gives_the_same_frames() {
    let conversation = [
        HELLO.to_owned(),
        status("2", 2),
        "noise \u{FFFD}".into(),
        observation("4", "a > b"),
        "\0\0\u{FEFF}<!-- a > --><?pi > ?>".into(),
        message(
            "OBS.R02",
            "5",
            "<X><![CDATA[</OBS.R02> ]]> </X><Y a='\"&lt;>' V = '1' /><OBS.value V=\"</OBS.R02>\"/>",
        ),
        end_of_topic("6"),
    ]
    .concat();
    let whole = bench().feed(conversation.as_bytes()).end().said.messages();
    assert_eq!(whole.len(), 2);
    assert!(whole[1].ends_with("<OBS.value V=\"</OBS.R02>\"/></OBS.R02>"), "{}", whole[1]);
    for size in 1..70 {
        let mut bench = bench();
        conversation.as_bytes().chunks(size).for_each(|chunk| {
            bench.feed(chunk);
        });
        assert_eq!(bench.end().said.messages(), whole, "pieces of {size}");
    }
}

#[test]
fn after_a_message_that_broke_off_the_next_one_is_read() {
    let good = observation("9", "5.5");
    for lost in [
        "<OBS.R01><HDR><HDR.control_id V=\"4\"/></HDR><SVC><PT><OBS><OBS.value V=\"7",
        "<OBS.R01><HDR><HDR.control_id V=\"4\"/></HDR><SVC",
        "<OBS.R01><SVC><PT>text",
        "</OBS.R01>",
        "\u{1}\u{2}garbage >>> ",
        "< <",
        "<!DOCTYPE x [ <!ENTITY a \"b>\"> ]",
    ] {
        let mut bench = bench();
        bench.feed(lost.as_bytes()).feed(b"<?xml version=\"1.0\"?>").feed(good.as_bytes());
        let frames = bench.said.messages();
        assert_eq!(frames.len(), 1, "{lost}: {:?}", bench.said);
        assert!(frames[0].contains("5.5") && !frames[0].contains("HDR"), "{lost}");
        assert!(!bench.said.notes.is_empty(), "{lost}");
    }
    // Without a declaration the name of the message tells.
    let mut bench = bench();
    bench.feed(b"<OBS.R01><SVC><OBS.value V=\"7").feed(good.as_bytes());
    assert_eq!((bench.said.frames.len(), bench.said.notes[0]), (1, "cut-message"));
}

#[test]
fn a_document_type_with_entities_is_skipped_and_expands_nothing() {
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE OBS.R01 [<!ENTITY a \"]>\"><!ENTITY b \"&a;&a;\">]>";
    let mut bench = bench();
    bench.feed(bomb.as_bytes()).feed(observation("4", "&b;").as_bytes());
    assert_eq!(bench.said.frames.len(), 1);
    assert!(bench.said.messages()[0].contains("&b;"));
}

#[test]
fn limits_hold_and_what_is_too_long_is_refused() {
    let settings = Settings { max_message_bytes: 1000, ..Settings::default() };
    let mut bench = Bench::new(Poct1aFramer::new(settings));
    bench.feed(HELLO.as_bytes());
    bench.sent();
    bench.feed(observation("4", &"9".repeat(2000)).as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AE 4"]);
    bench.feed(observation("5", "5.5").as_bytes());
    assert_eq!(said(&mut bench), ["ACK.R01 AA 5"]);
    bench.feed("<a>".repeat(100).as_bytes());
    assert!(bench.said.notes.contains(&"cut-message"));
    let mut flooded = Bench::new(Poct1aFramer::new(Settings::default()));
    flooded.hold = true;
    flooded.feed(observation("1", "1").as_bytes());
    flooded.feed(&vec![b' '; INBOX_MAX + 1]);
    assert!(flooded.said.closed);
}

#[test]
fn a_device_that_gives_one_observation_at_a_time_is_asked_again() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes()).feed(status("2", 2).as_bytes()).feed(observation("4", "1").as_bytes());
    bench.sent();
    bench.wait(Duration::from_secs(6));
    assert_eq!(said(&mut bench), ["REQ.R01 ROBS"]);
    bench.feed(observation("5", "2").as_bytes());
    bench.sent();
    bench.wait(Duration::from_secs(6));
    assert_eq!(said(&mut bench), ["DTV.R01 START_CONTINUOUS"]);
}

#[test]
fn a_device_that_falls_silent_when_asked_is_given_up_and_half_a_message_forgotten() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes()).feed(status("2", 2).as_bytes()).wait(Duration::from_secs(61));
    assert!(bench.said.closed);
    assert_eq!(bench.said.notes, ["no-answer"]);
    let mut half = Bench::new(Poct1aFramer::new(Settings::default()));
    half.feed(b"<OBS.R01><SVC>").wait(Duration::from_secs(61)).feed(observation("4", "1").as_bytes());
    assert_eq!((half.said.notes[0], half.said.frames.len()), ("cut-message", 1));
}

#[test]
fn refusals_of_the_device_are_noted_without_its_words() {
    let mut bench = bench();
    bench.feed(HELLO.as_bytes()).feed(status("2", 1).as_bytes());
    bench.feed(
        message("ESC.R01", "3", "<ESC><ESC.esc_control_id V=\"2\"/><ESC.detail_cd V=\"CNC\"/></ESC>")
            .as_bytes(),
    );
    let body =
        "<ACK><ACK.type_cd V=\"AE\"/><ACK.error_detail_cd V=\"300\"/><ACK.note_txt V=\"DOE^JANE\"/></ACK>";
    bench.feed(message("ACK.R01", "4", body).as_bytes());
    bench.feed(message("REQ.R01", "5", "<REQ><REQ.request_cd V=\"RPTL\"/></REQ>").as_bytes());
    assert_eq!(bench.said.notes, ["device-escape", "device-refused", "device-request"]);
    assert_eq!(said(&mut bench).last().unwrap(), "ACK.R01 AE 5");
}

#[test]
fn events_and_what_makers_added_are_kept_before_they_are_acknowledged() {
    let mut bench = bench();
    for (control, root) in ["EVS.R01", "NOVA.LOGS"].iter().enumerate() {
        bench.hold = true;
        bench.feed(message(root, &control.to_string(), "<EVT/>").as_bytes());
        assert_eq!(said(&mut bench), [""; 0]);
        let ticket = bench.open.pop().unwrap();
        bench.answer(ticket, Answer::Kept { body: None });
        assert_eq!(said(&mut bench), [format!("ACK.R01 AA {control}")]);
    }
}

#[test]
fn only_the_five_messages_of_a_reading_host_are_ever_sent() {
    let allowed = ["ACK.R01 AA", "ACK.R01 AE", "REQ.R01 ROBS", "DTV.R01 START_CONTINUOUS", "END.R01 NRM"];
    let roots = ["HEL", "DST", "KPA", "EOT", "ACK", "ESC", "END", "REQ", "OBS", "OPL", "PTL", "DTV", "XYZ"];
    for first in roots {
        for second in roots {
            let mut bench = bench();
            bench.feed(HELLO.as_bytes());
            for (root, trigger) in [(first, "R01"), (second, "R02")] {
                let words = "<A V=\"SET_TIME\"/><DST><DST.new_observations_qty V=\"1\"/></DST>";
                bench.feed(message(&format!("{root}.{trigger}"), "SET_TIME", words).as_bytes());
                bench.wait(Duration::from_secs(70));
            }
            for said in said(&mut bench) {
                assert!(allowed.iter().any(|allowed| said.starts_with(allowed)), "{first} {second}: {said}");
            }
        }
    }
}

#[test]
fn a_message_of_this_box_says_the_time_of_day_or_the_devices_own() {
    let stamp_of = |bench: &mut Bench| {
        let text = String::from_utf8(bench.sent()).unwrap();
        text.split_once("creation_dttm V=\"").map(|(_, rest)| rest[..25].to_owned())
    };
    let mut bench = bench();
    bench.feed(HELLO.as_bytes());
    assert_eq!(stamp_of(&mut bench).as_deref(), Some("2006-01-01T00:00:10-05:00"));
    bench.framer.wall_clock(Timestamp::from_micros(1_773_477_000_000_000, true));
    bench.feed(HELLO.as_bytes());
    assert_eq!(stamp_of(&mut bench).as_deref(), Some("2026-03-14T08:30:00+00:00"));
    assert_eq!(bench.said.notes, ["device-clock"]);
    let mut silent = Bench::new(Poct1aFramer::new(Settings::default()));
    silent.feed(status("1", 0).as_bytes());
    assert_eq!(stamp_of(&mut silent), None);
}

#[test]
fn odd_bytes_keep_the_promises_of_the_room() {
    fuzz(b"");
    fuzz(HELLO.as_bytes());
    fuzz(b"\xFF<\0<!x><a b='<?xml '><OBS.R01 ><OBS.R01></OBS.R01></a></OBS.R01>");
    fuzz(observation("1", &"x".repeat(9000)).as_bytes());
}
