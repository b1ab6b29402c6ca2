//! A provider made of one key, for everything a token can lie about.

use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

struct Provider {
    key: EncodingKey,
    jwk: Jwk,
}

fn provider(kid: &str) -> Provider {
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    Provider { key: EncodingKey::from_ec_der(der.as_ref()), jwk: serde_json::from_value(jwk).unwrap() }
}

fn config() -> Config {
    toml::from_str(
        "issuer = \"https://id.example\"\nclient_id = \"bedside\"\ndesk = \"https://desk.example:8443\"\n\
         roles = { nurses = \"clinician\", it = \"admin\" }",
    )
    .unwrap()
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "bedside", "sub": "u1", "nonce": "n-1", "iat": NOW - 5, "exp": NOW + 60,
        "preferred_username": "anna", "groups": ["nurses"],
    })
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => drop(all.as_object_mut().unwrap().insert(name.clone(), value.clone())),
        }
    }
    all
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000, true)
}

fn check(provider: &Provider, header: &Header, claims: &Value) -> Result<Claims, OidcFault> {
    let token = jsonwebtoken::encode(header, claims, &provider.key).unwrap();
    check_id_token(&token, std::slice::from_ref(&provider.jwk), &config(), "n-1", now())
}

fn header(kid: Option<&str>) -> Header {
    Header { kid: kid.map(Into::into), ..Header::new(Algorithm::ES256) }
}

#[test]
fn a_token_that_is_right_vouches_for_its_user() {
    let provider = provider("k1");
    for kid in [Some("k1"), None] {
        let claims = check(&provider, &header(kid), &claims()).unwrap();
        let who = vouched(&claims, None, &config()).unwrap();
        assert_eq!((who.username.as_str(), who.roles[0].as_str(), who.factor), ("anna", "clinician", false));
        assert_eq!(who.subject, "https://id.example|u1");
    }
    let several = with(json!({ "aud": ["bedside", "other"], "azp": "bedside" }));
    assert!(check(&provider, &header(None), &several).is_ok());
    let fraction: Value =
        serde_json::from_str(&claims().to_string().replace("1800000060", "1800000060.5")).unwrap();
    assert!(check(&provider, &header(None), &fraction).is_ok());
}

#[test]
fn every_claim_that_lies_is_found() {
    let provider = provider("k1");
    let lies = [
        (json!({ "iss": "https://id.example/" }), OidcFault::Issuer),
        (json!({ "iss": null }), OidcFault::Issuer),
        (json!({ "aud": "other" }), OidcFault::Audience),
        (json!({ "aud": ["other"] }), OidcFault::Audience),
        (json!({ "aud": null }), OidcFault::Audience),
        (json!({ "aud": ["bedside", "other"] }), OidcFault::AuthorizedParty),
        (json!({ "azp": "other" }), OidcFault::AuthorizedParty),
        (json!({ "exp": NOW - 61 }), OidcFault::Time),
        (json!({ "exp": null }), OidcFault::Time),
        (json!({ "exp": format!("{}", NOW + 60) }), OidcFault::Time),
        (json!({ "iat": null }), OidcFault::Time),
        (json!({ "iat": NOW + 120 }), OidcFault::Time),
        (json!({ "iat": NOW - 700 }), OidcFault::Time),
        (json!({ "nbf": NOW + 120 }), OidcFault::Time),
        (json!({ "nonce": "n-2" }), OidcFault::Nonce),
        (json!({ "nonce": null }), OidcFault::Nonce),
        (json!({ "sub": "" }), OidcFault::Subject),
        (json!({ "sub": null }), OidcFault::Subject),
        (json!({ "sub": 7 }), OidcFault::Subject),
    ];
    for (lie, fault) in lies {
        assert_eq!(check(&provider, &header(Some("k1")), &with(lie.clone())), Err(fault), "{lie}");
    }
}

#[test]
fn a_token_signed_by_anything_but_the_published_key_is_refused() {
    let ours = provider("k1");
    let other = provider("k1");
    let forged = jsonwebtoken::encode(&header(Some("k1")), &claims(), &other.key).unwrap();
    let keys = std::slice::from_ref(&ours.jwk);
    let check_text = |token: &str| check_id_token(token, keys, &config(), "n-1", now());
    assert_eq!(check_text(&forged), Err(OidcFault::Signature));
    // Its own key brought along, and a place to fetch one from.
    let brought = Header {
        jwk: Some(other.jwk.clone()),
        jku: Some("https://evil.example".into()),
        ..header(Some("k1"))
    };
    let forged = jsonwebtoken::encode(&brought, &claims(), &other.key).unwrap();
    assert_eq!(check_text(&forged), Err(OidcFault::Signature));
    assert_eq!(check(&ours, &header(Some("../../etc/passwd")), &claims()), Err(OidcFault::UnknownKey));
    assert_eq!(check(&ours, &header(Some("k2")), &claims()), Err(OidcFault::UnknownKey));
    let several = [ours.jwk.clone(), other.jwk.clone()];
    let unnamed = jsonwebtoken::encode(&header(None), &claims(), &ours.key).unwrap();
    assert_eq!(
        check_id_token(&unnamed, &several, &config(), "n-1", now()),
        Err(OidcFault::UnknownKey),
        "no id and more than one key: nobody guesses"
    );
    let critical = Header { crit: Some(vec!["b64".into()]), ..header(Some("k1")) };
    assert_eq!(check(&ours, &critical, &claims()), Err(OidcFault::Unreadable));
}

#[test]
fn algorithms_that_a_public_key_could_be_misused_for_are_refused() {
    let ours = provider("k1");
    let keys = std::slice::from_ref(&ours.jwk);
    let public = ours.jwk.common.key_id.clone().unwrap();
    let symmetric = jsonwebtoken::encode(
        &Header { kid: Some(public), ..Header::new(Algorithm::HS256) },
        &claims(),
        &EncodingKey::from_secret(b"the public key"),
    )
    .unwrap();
    assert_eq!(check_id_token(&symmetric, keys, &config(), "n-1", now()), Err(OidcFault::Algorithm));
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = format!("{}.{}.", part("{\"alg\":\"none\"}"), part(&claims().to_string()));
    assert_eq!(check_id_token(&unsigned, keys, &config(), "n-1", now()), Err(OidcFault::Unreadable));
    let mut encrypting = ours.jwk.clone();
    encrypting.common.public_key_use = Some(PublicKeyUse::Encryption);
    let token = jsonwebtoken::encode(&header(Some("k1")), &claims(), &ours.key).unwrap();
    assert_eq!(check_id_token(&token, &[encrypting], &config(), "n-1", now()), Err(OidcFault::UnknownKey));
    for token in ["", ".", "..", "a.b.c", &"x".repeat(40_000)] {
        assert_eq!(check_id_token(token, keys, &config(), "n-1", now()), Err(OidcFault::Unreadable));
        fuzz(token.as_bytes());
    }
}

#[test]
fn groups_become_roles_and_who_is_in_none_has_no_way_in() {
    let roles = |claims: Value| vouched(&claims, None, &config()).map(|who| who.roles.join(" "));
    assert_eq!(roles(with(json!({ "groups": ["nurses", "it"] }))), Ok("clinician admin".into()));
    assert_eq!(roles(with(json!({ "groups": "it" }))), Ok("admin".into()));
    assert_eq!(roles(with(json!({ "groups": ["other", 7] }))), Err(OidcFault::NoRole));
    assert_eq!(roles(with(json!({ "groups": null }))), Err(OidcFault::NoRole));
    assert_eq!(roles(with(json!({ "preferred_username": null }))), Err(OidcFault::NoName("user_claim")));
    let deep = Config { groups_claim: "realm_access.roles".into(), ..config() };
    let claims = with(json!({ "realm_access": { "roles": ["it"] } }));
    assert_eq!(vouched(&claims, None, &deep).unwrap().roles, ["admin"]);
    let bare = with(json!({ "groups": null }));
    assert!(!says_all(&bare, &config()) && says_all(&claims, &config()));
    let more = json!({ "sub": "u1", "groups": ["it"] });
    assert_eq!(vouched(&bare, Some(&more), &config()).unwrap().roles, ["admin"]);
    let others = json!({ "sub": "u2", "groups": ["it"] });
    assert_eq!(vouched(&bare, Some(&others), &config()), Err(OidcFault::NoRole), "UserInfo of somebody else");
    for (amr, factor) in [(json!(["pwd"]), false), (json!(["pwd", "otp"]), true), (json!("mfa"), false)] {
        assert_eq!(vouched(&with(json!({ "amr": amr })), None, &config()).unwrap().factor, factor);
    }
}

#[test]
fn who_sets_off_comes_back_once_in_the_same_browser_and_in_time() {
    let mut attempts = Attempts::default();
    let state = |query: &str| {
        let state = query.split('&').find_map(|term| term.strip_prefix("state=")).unwrap();
        percent_encoding::percent_decode_str(state).decode_utf8().unwrap().into_owned()
    };
    let off = attempts.begin(&config(), now()).unwrap();
    assert!(off.query.contains("code_challenge_method=S256") && off.query.contains("response_type=code"));
    assert!(
        off.query.contains("redirect_uri=https%3A%2F%2Fdesk%2Eexample%3A8443%2Fapi%2Fv1%2Foidc%2Freturn")
    );
    let browser = Some(off.browser.hash());
    let back = attempts.take(&state(&off.query), browser, now()).unwrap();
    assert_eq!(back.verifier.len(), 43);
    assert!(attempts.take(&state(&off.query), browser, now()).is_none(), "a state counts once");
    let off = attempts.begin(&config(), now()).unwrap();
    let foreign = Some(Token::make().unwrap().hash());
    assert!(attempts.take(&state(&off.query), foreign, now()).is_none(), "another browser");
    let off = attempts.begin(&config(), now()).unwrap();
    assert!(attempts.take(&state(&off.query), None, now()).is_none());
    let off = attempts.begin(&config(), now()).unwrap();
    let late = now().plus(ATTEMPT_LIFE);
    assert!(attempts.take(&state(&off.query), Some(off.browser.hash()), late).is_none());
    for _ in 0..ATTEMPTS_MAX + 50 {
        attempts.begin(&config(), now()).unwrap();
    }
    assert!(attempts.0.len() <= ATTEMPTS_MAX);
}

#[test]
fn an_answer_of_another_provider_is_not_taken() {
    assert!(is_of_issuer(&config(), Some("https://id.example"), true));
    assert!(is_of_issuer(&config(), None, false));
    assert!(!is_of_issuer(&config(), None, true));
    assert!(!is_of_issuer(&config(), Some("https://evil.example"), false));
}

#[test]
fn a_provider_is_reached_safely_or_not_at_all() {
    assert_eq!(config().check(), Ok(()));
    for url in ["https://id.example", "http://127.0.0.1:9000/x", "http://localhost:3000", "http://[::1]:3000"]
    {
        assert!(is_safe_url(url), "{url}");
    }
    for url in
        ["http://id.example", "", "https://", "ftp://x", "http://127.0.0.1.evil.example", "https://a@b"]
    {
        assert!(!is_safe_url(url), "{url}");
    }
    let wrong = [
        Config { issuer: "http://id.example".into(), ..config() },
        Config { desk: "https://desk.example/".into(), ..config() },
        Config { desk: "http://desk.example".into(), ..config() },
        Config { client_id: String::new(), ..config() },
        Config { scopes: vec!["profile".into()], ..config() },
        Config { roles: BTreeMap::new(), ..config() },
    ];
    for config in wrong {
        assert!(config.check().is_err());
    }
}
