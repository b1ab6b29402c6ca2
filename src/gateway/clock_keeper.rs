//! Who keeps the clock of the box, read from the traces that time services leave in files. The box runs without root and
//! sets no clock and no server itself: it says what whoever is root has to write.
//!
//! Sources: timesyncd.conf(5) (`[Time]`, `NTP=`, drop-ins; an empty value forgets what stood before),
//! systemd-timesyncd.service(8) (`/run/systemd/timesync/synchronized`), chrony.conf(5) (`server`, `pool`, `peer`, `sourcedir`).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::admin::site::ClockKeeper;

/// Most bytes of a file that are read, files of a folder, and servers that are named.
const BYTES_MAX: u64 = 64 << 10;
const FILES_MAX: usize = 64;
const SERVERS_MAX: usize = 16;
/// Letters of a host name (RFC 1035).
const HOST_MAX: usize = 253;

const TIMESYNC: &str = "run/systemd/timesync";
const DROP_IN: &str = "timesyncd.conf.d/50-bedside.conf";

/// What can be seen below `root`, which is `/` but in tests. `wanted`: servers somebody asked for.
pub(super) fn look(root: &Path, wanted: &[String]) -> ClockKeeper {
    let there = |path: &str| root.join(path).exists();
    let chrony = there("run/chrony") || there("run/chrony/chronyd.sock") || there("run/chronyd.pid");
    let (service, state) = match () {
        () if there("run/systemd/timesync/synchronized") => ("systemd-timesyncd", "synchronised"),
        // Whether it follows a server stands in no file that everybody may read.
        () if chrony => ("chrony", "unknown"),
        () if there("run/ntpd.pid") || there("run/ntpd.sock") => ("ntpd", "unknown"),
        () if there(TIMESYNC) => ("systemd-timesyncd", "not-synchronised"),
        () => ("unknown", "unknown"),
    };
    let servers = match service {
        "chrony" => of_chrony(root),
        "ntpd" => Vec::new(),
        _ => of_timesyncd(root),
    };
    let as_wanted = !wanted.is_empty() && wanted.iter().all(|one| servers.contains(one));
    let mut keeper =
        ClockKeeper { service, state, as_wanted, servers, wanted: wanted.to_vec(), ..ClockKeeper::default() };
    if !wanted.is_empty() && !as_wanted {
        tell(&mut keeper);
    }
    keeper
}

/// What is to be written and done for the servers that are wanted.
fn tell(keeper: &mut ClockKeeper) {
    let (file, text, command) = match keeper.service {
        "chrony" => (
            "/etc/chrony/sources.d/bedside.sources".to_owned(),
            keeper.wanted.iter().map(|one| format!("server {one} iburst\n")).collect(),
            "chronyc reload sources",
        ),
        "ntpd" => return,
        _ => (
            format!("/etc/systemd/{DROP_IN}"),
            format!("[Time]\nNTP={}\n", keeper.wanted.join(" ")),
            "timedatectl set-ntp true && systemctl restart systemd-timesyncd",
        ),
    };
    (keeper.file, keeper.text, keeper.command) = (Some(file), Some(text), Some(command.to_owned()));
}

/// Servers with blanks between.
///
/// # Errors
/// What is no host name and no address, in words.
pub(super) fn servers(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
    if let Some(wrong) = all.iter().find(|one| !is_host(one)) {
        let shown: String = wrong.chars().take(40).collect();
        return Err(format!("\"{shown}\" is no host name and no address of a time server"));
    }
    match all.len() {
        0..=SERVERS_MAX => Ok(all),
        _ => Err(format!("at most {SERVERS_MAX} time servers")),
    }
}

fn is_host(word: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = word.strip_suffix('.').unwrap_or(word);
    word.parse::<IpAddr>().is_ok() || (name.len() <= HOST_MAX && name.split('.').all(label))
}

/// The file and its drop-ins, later ones last; one in `/etc` hides one of its name elsewhere.
fn of_timesyncd(root: &Path) -> Vec<String> {
    let mut files = vec![root.join("etc/systemd/timesyncd.conf")];
    let folders = ["usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd"];
    let mut dropped: std::collections::BTreeMap<std::ffi::OsString, PathBuf> = Default::default();
    for folder in folders {
        for file in listed(&root.join(folder).join("timesyncd.conf.d"), "conf") {
            dropped.extend(file.file_name().map(|name| (name.to_owned(), file.clone())));
        }
    }
    files.extend(dropped.into_values());
    let mut servers = Vec::new();
    for file in files {
        timesyncd(&read(&file), &mut servers);
    }
    servers.truncate(SERVERS_MAX);
    servers
}

fn timesyncd(text: &str, servers: &mut Vec<String>) {
    let mut time = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            time = line == "[Time]";
        }
        let Some((_, value)) = line.split_once('=').filter(|(key, _)| time && key.trim() == "NTP") else {
            continue;
        };
        if value.trim().is_empty() {
            servers.clear();
        }
        add(servers, value.split_whitespace());
    }
}

fn of_chrony(root: &Path) -> Vec<String> {
    let mut servers = Vec::new();
    let mut files = vec![root.join("etc/chrony/chrony.conf"), root.join("etc/chrony.conf")];
    files.extend(listed(&root.join("etc/chrony/conf.d"), "conf"));
    files.extend(listed(&root.join("etc/chrony/sources.d"), "sources"));
    files.extend(listed(&root.join("run/chrony-dhcp"), "sources"));
    for file in files {
        for line in read(&file).lines() {
            let mut words = line.split_whitespace();
            if matches!(words.next(), Some("server" | "pool" | "peer")) {
                add(&mut servers, words.next().into_iter());
            }
        }
    }
    servers
}

fn add<'a>(servers: &mut Vec<String>, more: impl Iterator<Item = &'a str>) {
    for one in more.map(str::to_ascii_lowercase).filter(|one| is_host(one)) {
        if servers.len() < SERVERS_MAX && !servers.contains(&one) {
            servers.push(one);
        }
    }
}

/// A file's text; nothing where it cannot be read or is too long to be what it should.
fn read(path: &Path) -> String {
    let short = fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() <= BYTES_MAX);
    let bytes = if short { fs::read(path).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn listed(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.take(FILES_MAX).filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|own| own == ending)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(tempfile::TempDir);

    impl Root {
        fn with(files: &[(&str, &str)]) -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = root.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }

        fn look(&self, wanted: &str) -> ClockKeeper {
            look(self.0.path(), &servers(wanted).unwrap())
        }
    }

    #[test]
    fn a_box_without_a_trace_of_a_time_service_says_that_it_does_not_know() {
        let seen = Root::with(&[]).look("");
        assert_eq!((seen.service, seen.state, seen.servers.len()), ("unknown", "unknown", 0));
        assert_eq!((seen.file, seen.as_wanted), (None, false));
    }

    #[test]
    fn timesyncd_is_synchronised_when_it_says_so_and_not_before() {
        let seen = Root::with(&[("run/systemd/timesync/x", "")]).look("");
        assert_eq!((seen.service, seen.state), ("systemd-timesyncd", "not-synchronised"));
        let seen = Root::with(&[("run/systemd/timesync/synchronized", "")]).look("");
        assert_eq!((seen.service, seen.state), ("systemd-timesyncd", "synchronised"));
    }

    #[test]
    fn that_chrony_runs_is_not_taken_for_a_clock_that_is_right() {
        let seen = Root::with(&[
            ("run/chrony/chronyd.sock", ""),
            (
                "etc/chrony/chrony.conf",
                "# server old\nPool x\npool ntp.clinic.example iburst\nserver 10.0.0.1\n",
            ),
            ("etc/chrony/sources.d/a.sources", "server NTP2.clinic.example\n"),
        ])
        .look("ntp9.clinic.example");
        assert_eq!((seen.service, seen.state), ("chrony", "unknown"));
        assert_eq!(seen.servers, ["ntp.clinic.example", "10.0.0.1", "ntp2.clinic.example"]);
        assert_eq!(seen.text.as_deref(), Some("server ntp9.clinic.example iburst\n"));
    }

    #[test]
    fn servers_are_those_of_the_drop_ins_too_and_an_empty_value_forgets_those_before() {
        let root = Root::with(&[
            (
                "etc/systemd/timesyncd.conf",
                "[Time]\n#NTP=old\nNTP=a.example b.example\n[Other]\nNTP=no.example\n",
            ),
            ("run/systemd/timesyncd.conf.d/10.conf", "[Time]\nNTP=hidden.example\n"),
            ("etc/systemd/timesyncd.conf.d/10.conf", "[Time]\nNTP=\nNTP = c.example\n"),
            ("etc/systemd/timesyncd.conf.d/20.conf", "[Time]\nFallbackNTP=f.example\nNTP=d.example\n"),
            ("etc/systemd/timesyncd.conf.d/20.bak", "[Time]\nNTP=e.example\n"),
        ]);
        assert_eq!(root.look("").servers, ["c.example", "d.example"]);
    }

    #[test]
    fn what_is_wanted_and_not_configured_is_told_with_the_lines_to_write_and_then_no_more() {
        let root = Root::with(&[]);
        let seen = root.look("NTP.clinic.example 10.0.0.1");
        assert_eq!(seen.file.as_deref(), Some("/etc/systemd/timesyncd.conf.d/50-bedside.conf"));
        let text = seen.text.unwrap();
        assert_eq!(text, "[Time]\nNTP=ntp.clinic.example 10.0.0.1\n");
        let file = root.0.path().join("etc/systemd").join(DROP_IN);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let seen = root.look("ntp.clinic.example 10.0.0.1");
        assert!(seen.as_wanted && seen.file.is_none());
    }

    #[test]
    fn nothing_but_host_names_and_addresses_gets_into_a_command_for_root() {
        for good in ["a", "ntp.example.org.", "fd00::1", "192.0.2.7", "x-y.z"] {
            assert_eq!(servers(good), Ok(vec![good.to_owned()]));
        }
        for wrong in ["a;reboot", "$(x)", "a'b", "-x", "a..b", "é.example", &"a".repeat(64)] {
            assert!(servers(wrong).is_err(), "{wrong}");
        }
        assert!(servers(&"a ".repeat(SERVERS_MAX + 1)).is_err());
        assert_eq!(servers(" \n"), Ok(Vec::new()));
    }
}
