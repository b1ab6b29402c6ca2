//! Devices that publish to the embedded broker.

use crate::clinic::Clinic;
use crate::common;
use crate::speak::Mqtt;

use bedside::secret::Secret;

const PASSWORD: &str = "kit password of the rig";

fn links(port: u16) -> String {
    format!(
        "[broker]\nlisten = \"127.0.0.1:{port}\"\nmax_packet_bytes = 20000\n[[broker.users]]\nname = \"kit\"\n\
         password_secret = \"kit-password\"\n[[link]]\nname = \"kits\"\nprofile = \"ble-gateway/vital-kit\"\n\
         broker = {{ topics = [\"kits/#\"] }}\n"
    )
}

fn reading(person: &str, saturation: u32) -> String {
    format!(
        r#"{{"from":"BLE","to":"CLOUD","time":1773477000,"mac":"08:F9:E0:00:11:22","type":"reportAttribute","citiz":"{person}","data":{{"attribute":"KIT","mac":"08:F9:E0:00:11:22","value":{{"device_list":[{{"scan_time":1773477000,"ble_addr":"c12488000001","spo2":{saturation}}}]}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_stay_out_and_what_is_no_message_is_kept_for_a_person() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-mqtt", links(port)).await;

    // The password is not there yet: the link says so, in words, while everything else runs.
    common::until(crate::clinic::PATIENCE, "the missing password is told", async || {
        let (state, detail) = clinic.link("kits").await;
        state == "retrying" && detail.contains("kit-password")
    })
    .await;
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    common::until(crate::clinic::PATIENCE, "the broker starts", async || clinic.link("kits").await.0 == "up")
        .await;

    for (user, password) in [("kit", "wrong"), ("nobody", PASSWORD), ("kit", "")] {
        let refused = Mqtt::connect(port, "stranger", user, password).await.err();
        assert!(matches!(refused, Some(4 | 5)), "{user}: {refused:?}");
    }
    let mut kit = Mqtt::connect(port, "kit-1", "kit", PASSWORD).await.unwrap();
    assert!(kit.publish("kits/1", reading("P-1", 91).as_bytes()).await);
    // Not JSON, nothing at all, and nobody's topic.
    assert!(kit.publish("kits/1", b"{\"from\":\"BLE\",\"time\":17734").await);
    assert!(kit.publish("kits/1", b"").await);
    assert!(kit.publish("elsewhere/1", reading("P-1", 92).as_bytes()).await);
    // Larger than the broker takes: no PUBACK, the connection is closed; the device may come again.
    assert!(!kit.publish("kits/1", &vec![b'x'; 60_000]).await);
    let mut kit = Mqtt::connect(port, "kit-1", "kit", PASSWORD).await.unwrap();
    assert!(kit.publish("kits/2", reading("P-2", 93).as_bytes()).await);

    let reasons = clinic.settled(2, 2).await;
    println!("held over MQTT: {reasons:#?}");
    assert_eq!(clinic.valued("91"), 1);
    assert_eq!(clinic.valued("93"), 1);
    assert_eq!(clinic.valued("92"), 0);
    assert_eq!(clinic.notes("broker", "unclaimed-topic").await, 1);
    assert!(clinic.metric("bedside_link_notes_total", "link=\"broker\"").await >= 1);

    // A cleared upstream is no condition for keeping; and an entry that a repaired configuration can read goes out.
    clinic.restart_with(|config| config.replace("[\"kits/#\"]", "[\"kits/#\", \"elsewhere/#\"]"));
    common::until(crate::clinic::PATIENCE, "the broker starts again", async || {
        clinic.link("kits").await.0 == "up"
    })
    .await;
    let mut kit = Mqtt::connect(port, "kit-1", "kit", PASSWORD).await.unwrap();
    assert!(kit.publish("elsewhere/1", reading("P-1", 92).as_bytes()).await);
    clinic.settled(3, 2).await;
    assert_eq!(clinic.valued("92"), 1);
}
