use super::*;

const MINIMAL: &str = "[site]\nname = \"Ward\"\n[buffer]\ndir = \"/tmp/x\"\n";

fn fault(more: &str) -> String {
    parse(&format!("{MINIMAL}{more}"), "bedside.toml").unwrap_err().to_string()
}

#[test]
fn a_small_file_is_enough() {
    let config = parse(MINIMAL, "bedside.toml").unwrap();
    assert_eq!(config.site.zone, "UTC");
    assert!(config.links.is_empty() && config.upstream.is_none() && !config.worklist.fhir);
    assert!(fault("[worklist]\nfhir = true\n").contains("6:1: the worklist's orders come from [upstream]"));
    assert!(fault("[worklist]\nevery_s = 1\n").contains("every_s is 5 to 86400 seconds"));
}

#[test]
fn an_unknown_key_is_refused_with_line_and_caret() {
    let said = fault("[log]\nlevl = \"info\"\n");
    assert!(said.starts_with("bedside.toml:6:1: unknown field `levl`"), "{said}");
    assert!(said.contains("    6 | levl = \"info\"\n      | ^"), "{said}");
}

#[test]
fn a_link_names_a_profile_that_exists_and_one_way_in() {
    let said = fault("[[link]]\nname = \"a\"\nprofile = \"no/such\"\n");
    assert!(said.contains("7:11: no firmware profile \"no/such\"; there are: "), "{said}");
    let said = fault("[[link]]\nname = \"a\"\nprofile = \"ihe/pcd01-monitor\"\n");
    assert!(said.contains("has 0 ways in"), "{said}");
}

#[test]
fn a_wrong_zone_is_pointed_at() {
    let said = parse("[site]\nname = \"W\"\n zone = \"Mars\"\n[buffer]\ndir = \"/x\"\n", "b.toml")
        .unwrap_err()
        .to_string();
    assert!(said.starts_with("b.toml:3:2: unknown time zone \"Mars\""), "{said}");
}

#[test]
fn a_link_of_the_desk_is_read_like_one_of_the_file() {
    let config = parse(MINIMAL, "bedside.toml").unwrap();
    let read = |text: &str| parse_link(text, &config.site, &config.library, false);
    let link = read("name = \"a\"\nprofile = \"by-sender\"\nmllp = { listen = \"127.0.0.1:0\" }").unwrap();
    assert!(matches!((&link.reads, link.codec()), (Reads::BySender, Codec::Mllp(_))));
    let said = read("name = \"a\"\nprofile = \"by-sender\"\ntcp = { listen = \"127.0.0.1:0\" }");
    assert!(said.unwrap_err().to_string().contains("is for mllp and mqtt"));
    let said = read("name = \"a\"\nprofil = \"by-sender\"").unwrap_err().to_string();
    assert!(said.starts_with("the link:2:1: unknown field `profil`"), "{said}");
}

#[test]
fn a_hospital_system_is_a_link_of_its_own_kind() {
    let config = parse(MINIMAL, "bedside.toml").unwrap();
    let read = |text: &str| {
        parse_link(&format!("name = \"his\"\nprofile = {text}"), &config.site, &config.library, false)
    };
    let used = |link: &Link| match &link.reads {
        Reads::System(system) => (system.patients, system.templates),
        other => panic!("{other:?}"),
    };
    let plain = read("\"hl7-system\"\nmllp = { listen = \"127.0.0.1:0\" }").unwrap();
    assert_eq!((used(&plain), plain.profile_word()), ((true, false), "hl7-system"));
    assert!(matches!(plain.codec(), Codec::Mllp(_)));
    let files =
        "\"hl7-system\"\nfolder = { dir = \"/srv/hl7\" }\n[system]\npatients = false\ntemplates = true\n";
    let files = read(files).unwrap();
    assert_eq!((used(&files), files.codec()), ((false, true), Codec::message()));
    let said = read("\"hl7-system\"\ntcp = { listen = \"127.0.0.1:0\" }").unwrap_err().to_string();
    assert!(said.contains("is for mllp and for folders of messages, not for tcp"), "{said}");
    let said = read("\"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:0\" }\n[system]\n")
        .unwrap_err()
        .to_string();
    assert!(said.contains("[link.system] is for links with profile"), "{said}");
}

#[test]
fn two_links_cannot_share_a_name_nor_live_in_no_zone() {
    let link =
        "[[link]]\nname = \"a\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:0\" }\n";
    assert!(fault(&format!("{link}{link}")).contains("two links are called \"a\""));
    let said =
        fault("[[link]]\nname = \"a\"\nprofile = \"masimo/ascii1\"\nmllp = { listen = \"127.0.0.1:0\" }\n");
    assert!(said.contains("masimo/ascii1 does not speak over mllp: its codec is lines"), "{said}");
    let said = fault("[broker]\nlisten = \"127.0.0.1:0\"\n");
    assert!(said.starts_with("bedside.toml:5:1: the broker has no users"), "{said}");
    assert!(fault(&format!("{link}zone = \"Mars/Base\"\n")).contains("unknown time zone \"Mars/Base\""));
}
