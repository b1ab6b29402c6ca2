//! A clock that jumps, under the dynamic build of this rig: the shipped binary is static, and no library can be put
//! before it.

use std::time::Duration;

use crate::nothing_is;
use crate::proof::clinic::{Clinic, Plan};
use crate::tools::tool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_its_clock_says_nothing_is_lost_doubled_or_put_out_of_order() {
    // The wrapper says where the library is on this machine.
    let faketime = tool("faketime");
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file());
    let library = library.unwrap_or_else(|| panic!("{faketime} is there, its library is not"));
    let mut clinic = Clinic::open(Plan::of("clock")).await;
    let offset = clinic.dir.path().join("offset");
    let set = |text: &str| {
        let half = offset.with_extension("half");
        std::fs::write(&half, text).unwrap();
        std::fs::rename(&half, &offset).unwrap();
    };
    set("+0");
    let preload = format!("LD_PRELOAD={library}");
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let words = ["env", &*preload, &*file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let mut running = clinic.start_under(&words);
    clinic.wait_for_ports(&mut running);
    for jump in ["+5m", "-6m", "-1h", "+30d", "-30d", "+4500d", "-9000d", "-19000d", "+0"] {
        set(jump);
        let before = clinic.acknowledged();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let after = clinic.acknowledged();
        println!("{jump:>7}: {before:?} -> {after:?}");
        assert!(
            after[0] > before[0] && after[1] > before[1],
            "devices are not answered at {jump}:\n{}",
            running.log()
        );
        assert!(running.child.try_wait().unwrap().is_none(), "it ended at {jump}:\n{}", running.log());
    }
    clinic.slowest_start = Duration::ZERO;
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}
