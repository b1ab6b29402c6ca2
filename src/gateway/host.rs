//! The health of the machine the box runs on: room on its disk, how worn the disk is, how warm it is, whether its clock
//! follows anything. Read without rights from what Linux shows; what a machine does not show is absent, never zero.
//!
//! Sources: statvfs(3); Documentation/driver-api/thermal/sysfs-api (`temp`, thousandths of a degree Celsius); eMMC 5.0
//! (JEDEC JESD84-B50) `DEVICE_LIFE_TIME_EST` and `PRE_EOL_INFO` as the kernel's `life_time` and `pre_eol_info`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::live::{Live, Severity};
use crate::admin::system::Host;
use crate::clock::SharedClock;
use crate::connector::Stop;
use crate::gateway::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(30);
/// Room on the disk below which a person is told, and above which that is over.
const ROOM_LOW: u64 = 1 << 30;
const ROOM_AGAIN: u64 = ROOM_LOW + (256 << 20);
/// Files that can still be made.
const FILES_LOW: u64 = 1_000;
/// °C from which processors of small boxes begin to slow down, and below which that is over.
const HOT: i32 = 80;
const COOL: i32 = 75;
/// Share of a disk's life that is used, by its maker's own estimate, from which on it should be replaced soon.
const WORN: u8 = 90;
/// How long a clock may follow nothing: after a start, and when the network is away for a while.
const CLOCK_AFTER: Duration = Duration::from_secs(3600);
/// Devices below devices (encryption, volumes) that are looked through.
const DEPTH: usize = 4;
const ZONES_MAX: usize = 64;

/// What can be seen of the machine below `root`, which is `/` but in tests; `dir`: the folder of what is kept.
pub(super) fn look(root: &Path, dir: &Path) -> Host {
    let mut host = Host { temperature_c: temperature(root), ..Host::default() };
    if let Ok(disk) = rustix::fs::statvfs(dir) {
        host.disk_bytes = Some(disk.f_blocks.saturating_mul(disk.f_frsize));
        host.disk_free_bytes = Some(disk.f_bavail.saturating_mul(disk.f_frsize));
        // Some file systems (btrfs) count no files and say 0 of 0.
        host.disk_free_files = (disk.f_files > 0).then_some(disk.f_favail);
    }
    if let Ok(about) = fs::metadata(dir) {
        let (major, minor) = (rustix::fs::major(about.dev()), rustix::fs::minor(about.dev()));
        let device = fs::canonicalize(root.join(format!("sys/dev/block/{major}:{minor}")));
        host.disk_life_used_percent = device.ok().and_then(|device| life(&device, DEPTH));
    }
    host
}

/// The warmest of all places that are measured, in whole °C.
fn temperature(root: &Path) -> Option<i32> {
    let zones = fs::read_dir(root.join("sys/class/thermal")).ok()?.take(ZONES_MAX).flatten();
    let zones = zones.filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
    let degrees = zones.filter_map(|zone| word(&zone.path().join("temp"))?.parse::<i32>().ok());
    // Sensors that are not connected say things like -273 or 255.
    degrees.map(|thousandths| thousandths / 1000).filter(|degrees| (-40..=150).contains(degrees)).max()
}

/// How much of its life a disk has used: of the disk itself, of the one a partition is on, or the most worn of those
/// below a volume.
fn life(device: &Path, depth: usize) -> Option<u8> {
    let own =
        [Some(device), device.parent()].into_iter().flatten().find_map(|disk| used(&disk.join("device")));
    if own.is_some() || depth == 0 {
        return own;
    }
    let below = fs::read_dir(device.join("slaves")).ok()?.take(ZONES_MAX).flatten();
    let below = below.filter_map(|entry| fs::canonicalize(entry.path()).ok());
    below.filter_map(|disk| life(&disk, depth - 1)).max()
}

/// `0x01` is up to 10 % of the estimated life, `0x0a` up to 100 %, `0x0b` more than that; 0 is not said. Of the two kinds
/// of cells the more worn counts; a reserve of spare blocks that is used up (`pre_eol_info` 2, 3) counts as 90 and 100 %.
fn used(device: &Path) -> Option<u8> {
    let number = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let estimates = fs::read_to_string(device.join("life_time")).ok().unwrap_or_default();
    let estimates = estimates.split_whitespace().take(2).filter_map(number);
    let estimates = estimates.filter(|tenths| (1..=11).contains(tenths)).map(|tenths| tenths * 10);
    let reserve = match word(&device.join("pre_eol_info")).as_deref().and_then(number) {
        Some(2) => Some(90),
        Some(3) => Some(100),
        _ => None,
    };
    estimates.chain(reserve).max()
}

fn word(path: &PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()?.split_whitespace().next().map(str::to_owned)
}

/// What is known between two looks.
struct Judge {
    /// Since when the clock follows nothing.
    adrift: Option<Instant>,
    low: bool,
    hot: bool,
}

impl Judge {
    fn judge(&mut self, host: &Host, synchronised: bool, now: Instant, live: &Live) {
        self.room(host, live);
        self.warmth(host.temperature_c, live);
        worn(host.disk_life_used_percent, live);
        if synchronised {
            self.adrift = None;
            return live.clear_alarm("box-clock");
        }
        let since = *self.adrift.get_or_insert(now);
        if now.saturating_duration_since(since) >= CLOCK_AFTER {
            let title = "The clock of this box follows no time server";
            let next = "Results of devices without a clock carry this box's time, and devices' clocks cannot be judged. Give it a \
                        time server: Settings, then Names, time zone, clock.";
            live.alarm("box-clock", Severity::Warning, title, next);
        }
    }

    fn room(&mut self, host: &Host, live: &Live) {
        let Some(free) = host.disk_free_bytes else { return };
        let few = host.disk_free_files.is_some_and(|files| files < FILES_LOW);
        self.low = few || free < if self.low { ROOM_AGAIN } else { ROOM_LOW };
        if !self.low {
            return live.clear_alarm("disk-filling");
        }
        let title = if few {
            "The disk can hold hardly any further files".to_owned()
        } else {
            format!("The disk has {} MB left", free >> 20)
        };
        let next = "Nothing is lost yet: when it is full, senders are refused and keep what they have. Remove what else lies on \
                    this disk, or old backups; du -x says what takes the room.";
        live.alarm("disk-filling", Severity::Warning, &title, next);
    }

    fn warmth(&mut self, degrees: Option<i32>, live: &Live) {
        self.hot = degrees.is_some_and(|degrees| degrees >= if self.hot { COOL } else { HOT });
        match degrees.filter(|_| self.hot) {
            None => live.clear_alarm("box-hot"),
            Some(degrees) => {
                let title = format!("This box is {degrees} °C warm");
                let next = "It becomes slow, and its disk ages. Free its openings, move it away from heat, look at its fan.";
                live.alarm("box-hot", Severity::Warning, &title, next);
            }
        }
    }
}

fn worn(used: Option<u8>, live: &Live) {
    let Some(used) = used.filter(|used| *used >= WORN) else { return live.clear_alarm("disk-worn") };
    let title = if used > 100 {
        "The disk is beyond the life its maker gives it".to_owned()
    } else {
        format!("The disk has used about {used} % of its life")
    };
    let next = "It works, and may fail at any time. Make a backup now, keep it elsewhere, and have the disk replaced.";
    live.alarm("disk-worn", Severity::Warning, &title, next);
}

/// Runs until told to stop.
pub(super) async fn run(
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    clock: SharedClock,
    dir: PathBuf,
    mut stop: Stop,
) {
    let mut judge = Judge { adrift: None, low: false, hot: false };
    loop {
        // A disk that hangs keeps this look waiting, and nothing else.
        let of = dir.clone();
        if let Ok(host) = tokio::task::spawn_blocking(move || look(Path::new("/"), &of)).await {
            let synchronised = clock.now().synchronised;
            metrics.host(&host, synchronised);
            judge.judge(&host, synchronised, Instant::now(), &live);
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::store::Backlog;
    use crate::clock::SystemClock;

    /// A machine whose data lies on a partition of `mmcblk0`, below `through` where there is any.
    fn machine(life_time: &str, pre_eol: &str, through: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let disk = at("sys/devices/block/mmcblk0");
        fs::create_dir_all(disk.join("mmcblk0p2")).unwrap();
        fs::create_dir_all(disk.join("device")).unwrap();
        fs::write(disk.join("device/life_time"), life_time).unwrap();
        fs::write(disk.join("device/pre_eol_info"), pre_eol).unwrap();
        let mut seen = disk.join("mmcblk0p2");
        if let Some(volume) = through {
            let volume = at("sys/devices/virtual/block").join(volume);
            fs::create_dir_all(volume.join("slaves")).unwrap();
            std::os::unix::fs::symlink(&seen, volume.join("slaves/mmcblk0p2")).unwrap();
            seen = volume;
        }
        fs::create_dir_all(at("sys/dev/block")).unwrap();
        let dir = at("data");
        fs::create_dir(&dir).unwrap();
        let dev = fs::metadata(&dir).unwrap().dev();
        let name = format!("sys/dev/block/{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        std::os::unix::fs::symlink(seen, at(&name)).unwrap();
        (root, dir)
    }

    fn life_of(life_time: &str, pre_eol: &str, through: Option<&str>) -> Option<u8> {
        let (root, dir) = machine(life_time, pre_eol, through);
        look(root.path(), &dir).disk_life_used_percent
    }

    #[test]
    fn a_machine_that_shows_nothing_has_no_figures_but_those_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let host = look(root.path(), root.path());
        assert_eq!((host.temperature_c, host.disk_life_used_percent), (None, None));
        assert!(host.disk_bytes.unwrap() >= host.disk_free_bytes.unwrap());
        let nowhere = look(root.path(), &root.path().join("not there"));
        assert_eq!((nowhere.disk_bytes, nowhere.disk_free_files), (None, None));
    }

    #[test]
    fn the_warmest_place_counts_and_sensors_that_are_not_connected_do_not() {
        let root = tempfile::tempdir().unwrap();
        for (zone, says) in
            [("0", "51234\n"), ("1", "48000\n"), ("2", "-273000\n"), ("3", "255000"), ("4", "x")]
        {
            let folder = root.path().join("sys/class/thermal").join(format!("thermal_zone{zone}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("temp"), says).unwrap();
        }
        fs::create_dir_all(root.path().join("sys/class/thermal/cooling_device0")).unwrap();
        assert_eq!(temperature(root.path()), Some(51));
    }

    #[test]
    fn the_life_of_a_disk_is_that_of_its_more_worn_cells_also_below_a_volume() {
        assert_eq!(life_of("0x02 0x01\n", "0x01\n", None), Some(20));
        assert_eq!(life_of("0x01 0x0b\n", "0x01\n", None), Some(110));
        assert_eq!(life_of("0x03 0x03\n", "0x01\n", Some("dm-0")), Some(30));
        assert_eq!(life_of("0x03 0x03\n", "0x02\n", None), Some(90), "the reserve is nearly used up");
        assert_eq!(life_of("0x00 0x00\n", "0x00\n", None), None, "it does not say");
        assert_eq!(life_of("0xff zz\n", "", None), None);
    }

    fn alarms(live: &Live) -> Vec<String> {
        live.overview("", false, &Backlog::default()).alarms.into_iter().map(|alarm| alarm.code).collect()
    }

    #[test]
    fn what_a_person_must_do_something_about_is_an_alarm_and_goes_again() {
        let live = Live::new(Arc::new(SystemClock::default()));
        let mut judge = Judge { adrift: None, low: false, hot: false };
        let start = Instant::now();
        let fine = Host {
            disk_bytes: Some(32 << 30),
            disk_free_bytes: Some(8 << 30),
            disk_free_files: Some(100_000),
            disk_life_used_percent: Some(80),
            temperature_c: Some(79),
        };
        judge.judge(&fine, true, start, &live);
        assert_eq!(alarms(&live), [""; 0]);
        let bad = Host {
            disk_free_bytes: Some(ROOM_LOW - 1),
            disk_life_used_percent: Some(90),
            temperature_c: Some(80),
            ..fine.clone()
        };
        judge.judge(&bad, false, start, &live);
        let mut told = alarms(&live);
        told.sort();
        assert_eq!(told, ["box-hot", "disk-filling", "disk-worn"]);
        // A little better is not over.
        let better = Host { disk_free_bytes: Some(ROOM_LOW + 1), temperature_c: Some(76), ..fine.clone() };
        judge.judge(&better, false, start + CLOCK_AFTER, &live);
        let mut told = alarms(&live);
        told.sort();
        assert_eq!(told, ["box-clock", "box-hot", "disk-filling"]);
        let fine = Host { temperature_c: Some(COOL - 1), ..fine };
        judge.judge(&fine, true, start + CLOCK_AFTER, &live);
        assert_eq!(alarms(&live), [""; 0]);
        let few = Host { disk_free_files: Some(10), ..fine.clone() };
        judge.judge(&few, true, start, &live);
        assert_eq!(alarms(&live), ["disk-filling"]);
        // What is not shown is no alarm, and none is left standing for a disk that is no longer seen.
        judge.judge(&fine, true, start, &live);
        judge.judge(&Host::default(), false, start, &live);
        assert_eq!(alarms(&live), [""; 0]);
    }
}
