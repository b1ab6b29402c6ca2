//! Every check of the relying party, by an authenticator that lies about exactly one thing.

use super::super::passkey_rig::{Authenticator, Key, attestation};
use super::*;

/// Makes an authenticator lie about one thing.
type Lie = fn(&mut Authenticator);

const ORIGIN: &str = "https://ward-3.local:8443";

fn expected() -> Expected {
    Expected { challenge: vec![3; 32], origin: ORIGIN.into(), rp_id: "ward-3.local".into() }
}

fn authenticator() -> Authenticator {
    Authenticator::new("ward-3.local", ORIGIN)
}

fn registered(of: &Authenticator) -> Result<NewPasskey, PasskeyFault> {
    let (client_data, object) = of.register(&expected().challenge);
    check_registration(&expected(), &client_data, &object)
}

fn asserted(of: &mut Authenticator, key: &[u8], counter: u32) -> Result<u32, PasskeyFault> {
    let answer = of.assert(&expected().challenge);
    check_assertion(&expected(), key, counter, &answer.client_data, &answer.data, &answer.signature)
}

#[test]
fn a_passkey_of_every_kind_is_made_and_lets_its_holder_in() {
    let keys: [fn() -> Authenticator; 3] = [
        authenticator,
        || Authenticator::with(Authenticator::ed25519(), "ward-3.local", ORIGIN),
        || Authenticator::with(Authenticator::rsa(), "ward-3.local", ORIGIN),
    ];
    for make in keys {
        let mut one = make();
        let made = registered(&one).unwrap();
        assert_eq!((made.credential.as_slice(), made.counter), (&[9; 16][..], 0));
        assert_eq!(asserted(&mut one, &made.key, made.counter), Ok(1));
        assert_eq!(asserted(&mut one, &made.key, 1), Ok(2));
    }
}

#[test]
fn a_page_that_lies_about_the_ceremony_is_not_believed() {
    let lies: [(Lie, PasskeyFault); 4] = [
        (|one| one.origin = "https://evil.example".into(), PasskeyFault::Origin),
        (|one| one.origin = "https://ward-3.local".into(), PasskeyFault::Origin),
        (|one| one.more = ",\"topOrigin\":\"https://evil.example\"".into(), PasskeyFault::CrossOrigin),
        (|one| one.more = ",\"type\":\"webauthn.create\"".into(), PasskeyFault::ClientData),
    ];
    for (lie, fault) in lies {
        let mut one = authenticator();
        let key = one.cose();
        lie(&mut one);
        assert_eq!(registered(&one).err(), Some(fault));
        assert_eq!(asserted(&mut one, &key, 0), Err(fault));
    }
    let mut one = authenticator();
    let key = one.cose();
    let made = one.register(&expected().challenge);
    let answer = one.assert(&expected().challenge);
    let swapped = check_assertion(&expected(), &key, 0, &made.0, &answer.data, &answer.signature);
    assert_eq!(swapped, Err(PasskeyFault::Ceremony));
    assert_eq!(
        check_registration(&expected(), &answer.client_data, &made.1).err(),
        Some(PasskeyFault::Ceremony)
    );
    let (old, object) = one.register(&[4; 32]);
    assert_eq!(check_registration(&expected(), &old, &object).err(), Some(PasskeyFault::Challenge));
    let old = one.assert(&[4; 32]);
    let replayed = check_assertion(&expected(), &key, 0, &old.client_data, &old.data, &old.signature);
    assert_eq!(replayed, Err(PasskeyFault::Challenge));
    let framed = String::from_utf8(made.0).unwrap().replace("false", "true");
    assert_eq!(
        check_registration(&expected(), framed.as_bytes(), &made.1).err(),
        Some(PasskeyFault::CrossOrigin)
    );
    for client_data in [&b""[..], b"{}", b"[]", b"\xff"] {
        assert_eq!(
            check_registration(&expected(), client_data, &made.1).err(),
            Some(PasskeyFault::ClientData)
        );
    }
}

#[test]
fn an_authenticator_that_lies_is_not_believed() {
    let lies: [(Lie, PasskeyFault); 6] = [
        (|one| one.rp_id = "evil.example".into(), PasskeyFault::RelyingParty),
        (|one| one.flags = 0x04, PasskeyFault::NotPresent),
        (|one| one.flags = 0x01, PasskeyFault::NotVerified),
        (|one| one.flags = 0x15, PasskeyFault::Flags),
        (|one| one.flags = 0x85, PasskeyFault::AuthenticatorData),
        (|one| one.credential = vec![1; 1024], PasskeyFault::AuthenticatorData),
    ];
    for (lie, fault) in lies {
        let mut one = authenticator();
        lie(&mut one);
        assert_eq!(registered(&one).err(), Some(fault));
    }
    for (flags, fault) in [(0x04, PasskeyFault::NotPresent), (0x01, PasskeyFault::NotVerified)] {
        let mut one = authenticator();
        one.flags = flags;
        let key = one.cose();
        assert_eq!(asserted(&mut one, &key, 0), Err(fault));
    }
    let one = authenticator();
    let (client_data, _) = one.register(&expected().challenge);
    let whole = one.authenticator_data();
    for cut in 0..whole.len() {
        let broken = check_registration(&expected(), &client_data, &attestation(&whole[..cut]));
        assert!(broken.is_err(), "cut at {cut}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(check_registration(&expected(), &client_data, &attestation(&longer)).is_err());
    let mut unattested = whole;
    unattested[32] &= !0x40;
    assert!(check_registration(&expected(), &client_data, &attestation(&unattested)).is_err());
    for object in [&b""[..], b"\xa0", b"\x00", &[0x9f; 4000], &[0x81; 20_000]] {
        let fault = check_registration(&expected(), &client_data, object).err();
        assert_eq!(fault, Some(PasskeyFault::Attestation));
    }
}

#[test]
fn a_signature_counts_for_its_key_its_data_and_its_challenge_only() {
    let mut one = authenticator();
    let key = one.cose();
    let answer = one.assert(&expected().challenge);
    let check = |key: &[u8], client_data: &[u8], data: &[u8], signed: &[u8]| {
        check_assertion(&expected(), key, 0, client_data, data, signed)
    };
    assert!(check(&key, &answer.client_data, &answer.data, &answer.signature).is_ok());
    let other = authenticator().cose();
    let wrong = Err(PasskeyFault::Signature);
    assert_eq!(check(&other, &answer.client_data, &answer.data, &answer.signature), wrong);
    assert_eq!(check(&key, &answer.client_data, &answer.data, b""), wrong);
    let mut counted = answer.data.clone();
    counted[36] += 1;
    assert_eq!(check(&key, &answer.client_data, &counted, &answer.signature), wrong);
    let spaced = [&answer.client_data[..], b" "].concat();
    assert_eq!(check(&key, &spaced, &answer.data, &answer.signature), wrong);
}

#[test]
fn a_counter_that_does_not_go_on_betrays_a_copy() {
    let mut one = authenticator();
    let key = one.cose();
    assert_eq!(asserted(&mut one, &key, 0), Ok(1));
    assert_eq!(asserted(&mut one, &key, 2), Err(PasskeyFault::Counter), "2 again");
    one.counter = 0;
    assert_eq!(asserted(&mut one, &key, 9), Err(PasskeyFault::Counter));
    let silent = u32::MAX;
    one.counter = silent - 1;
    assert_eq!(asserted(&mut one, &key, 9), Ok(silent));
}

#[test]
fn keys_of_other_kinds_and_broken_ones_are_not_taken() {
    let one = authenticator();
    let int = |n: i64| Value::Integer(n.into());
    let with = |label: i64, value: Value| {
        let mut fields = cbor(&mut &one.cose()[..]).unwrap().into_map().unwrap();
        fields.retain(|(key, _)| *key != int(label));
        fields.push((int(label), value));
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(fields), &mut bytes).unwrap();
        bytes
    };
    assert!(PublicKey::read(&with(3, int(-7))).is_ok());
    for bad in [with(3, int(-35)), with(1, int(4)), with(-1, int(2)), with(-2, Value::Bytes(vec![1; 31]))] {
        assert_eq!(PublicKey::read(&bad).err(), Some(PasskeyFault::Key));
    }
    let off_curve = with(-2, Value::Bytes(vec![1; 32]));
    assert_eq!(PublicKey::read(&off_curve).unwrap().verify(b"m", b"s"), Err(PasskeyFault::Signature));
    let Key::Es256(_) = one.key else { panic!("the rig's own key is P-256") };
}

#[test]
fn passkeys_are_bound_to_names_and_not_to_addresses() {
    assert_eq!(rp_id("ward-3.local:8443").as_deref(), Some("ward-3.local"));
    assert_eq!(rp_id("LOCALHOST").as_deref(), Some("localhost"));
    for address in ["10.0.0.7:8443", "[::1]:8443", "", ":8443", "a b", "ä.example"] {
        assert_eq!(rp_id(address), None, "{address}");
    }
    let one = Expected::make("Ward-3.local:443").unwrap().unwrap();
    assert_eq!((one.origin.as_str(), one.challenge.len()), ("https://ward-3.local", 32));
    assert_ne!(one.challenge, Expected::make("ward-3.local").unwrap().unwrap().challenge);
}

#[test]
fn whatever_is_sent_is_survived() {
    let one = authenticator();
    let (_, object) = one.register(&[7; 32]);
    for seed in [&b""[..], b"\xa3", &object, &one.cose(), &[0xbf; 300], &[0x5f; 300]] {
        fuzz(seed);
    }
}
