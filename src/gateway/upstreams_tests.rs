use super::*;
use crate::admin::upstreams::Upstreams as _;
use crate::clock::TestClock;
use crate::config;
use crate::connector::Stop;

const NOW: i64 = 1_773_477_000_000_000;

struct Rig {
    dir: tempfile::TempDir,
    buffer: Buffer,
    again: Arc<Again>,
    ups: Upstreams,
}

fn rig(source: Source) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let text = format!("[site]\nname = \"W\"\n[buffer]\ndir = \"{}\"\n", dir.path().display());
    let config = config::parse(&text, "w.toml").unwrap();
    let buffer = Buffer::open(&config.buffer, clock.clone()).unwrap();
    let again = Arc::new(Again::default());
    let secrets = SecretStore::new(None, None).with_own(own_folder(&config));
    let ups = Upstreams::new(buffer.clone(), secrets, &config, clock, again.clone(), source, None, None);
    Rig { dir, buffer, again, ups }
}

fn page() -> Value {
    json!({ "name": "EHR", "base": "https://fhir.example.org/r4", "client_id": "box", "scopes": null, "max_bytes_per_s": 50_000 })
}

#[tokio::test]
async fn a_server_set_up_at_the_desk_is_kept_and_read_again_with_its_key() {
    let rig = rig(Source::Desk);
    assert_eq!(rig.ups.set_up().await.unwrap().source, "none");
    assert!(
        matches!(rig.ups.save("anna".into(), page()).await, Err(Refusal::Conflict(why)) if why.contains("key pair"))
    );
    let key = rig.ups.new_key("anna".into(), "ES384".into()).await.unwrap();
    assert_eq!((key.state, key.algorithm, key.by.as_str()), ("current", "ES384", "anna"));
    rig.ups.save("anna".into(), page()).await.unwrap();
    assert!(rig.again.is_wanted());
    let told = rig.ups.set_up().await.unwrap();
    assert_eq!((told.source, told.jwks["keys"][0]["kid"].as_str()), ("desk", Some(key.kid.as_str())));
    assert!(
        told.jwks["keys"][0].get("d").is_none() && told.scopes.contains(&"system/Observation.crus".into())
    );
    let remembered = remember(&rig.buffer.reader()).await.unwrap().unwrap().unwrap();
    let config = remembered.config;
    assert_eq!(remembered.throttle, Some(50_000));
    assert_eq!((config.base.as_str(), config.client_id.as_str()), ("https://fhir.example.org/r4", "box"));
    assert!(rig.dir.path().join("keys").join(&config.key_secret).is_file());
}

#[tokio::test]
async fn a_key_is_changed_by_way_of_a_successor_that_is_published_first() {
    let rig = rig(Source::Desk);
    let first = rig.ups.new_key("anna".into(), "ES384".into()).await.unwrap();
    assert!(rig.ups.rotate().await.is_err(), "there is nothing to change to");
    let second = rig.ups.new_key("ben".into(), "es384".into()).await.unwrap();
    assert_eq!(second.state, "next");
    assert!(rig.ups.new_key("ben".into(), "ES384".into()).await.is_err(), "one successor at a time");
    assert_eq!(rig.ups.set_up().await.unwrap().jwks["keys"].as_array().unwrap().len(), 2);
    rig.ups.rotate().await.unwrap();
    let keys = rig.ups.set_up().await.unwrap().keys;
    assert_eq!((keys.len(), keys[0].kid.as_str(), keys[0].state), (1, second.kid.as_str(), "current"));
    let left = std::fs::read_dir(rig.dir.path().join("keys")).unwrap().count();
    assert_eq!(left, 1, "the file of {} is gone", first.kid);
    rig.ups.new_key("ben".into(), "ES384".into()).await.unwrap();
    rig.ups.drop_next().await.unwrap();
    assert_eq!(rig.ups.drop_next().await.err(), Some(Refusal::Unknown));
}

#[tokio::test]
async fn what_the_file_says_is_not_changed_at_the_desk() {
    let rig = rig(Source::File("/etc/bedside/bedside.toml".into()));
    let refused = [
        rig.ups.save("anna".into(), page()).await.err(),
        rig.ups.rotate().await.err(),
        rig.ups.remove().await.err(),
        rig.ups.new_key("anna".into(), "ES384".into()).await.err(),
    ];
    for refusal in refused {
        assert!(matches!(refusal, Some(Refusal::Conflict(why)) if why.contains("/etc/bedside/bedside.toml")));
    }
    assert_eq!(rig.ups.set_up().await.unwrap().source, "file");
}

#[tokio::test]
async fn a_page_that_cannot_work_is_refused_in_words() {
    let rig = rig(Source::Desk);
    rig.ups.new_key("anna".into(), "ES384".into()).await.unwrap();
    assert!(rig.ups.new_key("anna".into(), "HS256".into()).await.is_err());
    for (change, word) in [
        (json!({ "base": "http://fhir.example.org/r4" }), "plain http"),
        (json!({ "client_id": "" }), "client_id"),
        (json!({ "key_secret": "x" }), "not said at the desk"),
        (json!({ "cliend": "x" }), "cliend"),
        (json!({ "max_bytes_per_s": "fast" }), "max_bytes_per_s"),
        (json!({ "auth": "none" }), "insecure_no_auth"),
    ] {
        let mut page = page();
        for (member, value) in change.as_object().unwrap() {
            page[member] = value.clone();
        }
        let refused = rig.ups.save("anna".into(), page).await;
        assert!(matches!(&refused, Err(Refusal::Conflict(why)) if why.contains(word)), "{word}: {refused:?}");
    }
    assert!(!rig.again.is_wanted());
    let (_switch, _stop) = Stop::pair();
    assert_eq!(rig.ups.remove().await.err(), Some(Refusal::Unknown));
}
