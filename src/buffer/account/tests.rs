//! Who may, over a real database: what must hold whatever happens at once.

use super::super::{Buffer, BufferError, Change, Config};
use super::*;
use crate::clock::TestClock;

fn buffer() -> (tempfile::TempDir, Buffer) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
    let buffer = Buffer::open(&config, TestClock::at(1_000_000)).unwrap();
    (dir, buffer)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000, true)
}

fn user(name: &str, role: &str) -> UserRow {
    UserRow::local(name, "$argon2id$…", role, at(1))
}

fn session(id: u8, user: &str, expires: i64) -> SessionRow {
    SessionRow {
        id: 0,
        id_hash: vec![id; 32],
        user: user.into(),
        stage: "in".into(),
        created: at(1),
        last_used: at(1),
        expires: at(expires),
        proven: at(1),
        peer: "10.0.0.7".into(),
        agent: "Fox".into(),
    }
}

fn factor(user: &str, kind: &str, credential: Option<u8>) -> FactorRow {
    FactorRow {
        id: 0,
        user: user.into(),
        kind: kind.into(),
        label: "Phone".into(),
        secret: vec![1, 2],
        credential: credential.map(|byte| vec![byte; 4]),
        site: None,
        counter: 0,
        created: at(1),
        last_used: None,
    }
}

async fn done(buffer: &Buffer, change: AccountChange) -> Result<(), String> {
    match buffer.change(vec![Change::Account(change)]).await {
        Ok(()) => Ok(()),
        Err(BufferError::NotAllowed(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn there_is_one_first_user() {
    let (_dir, buffer) = buffer();
    buffer.change(vec![Change::FirstUser(user("ada", "admin"))]).await.unwrap();
    let second = buffer.change(vec![Change::FirstUser(user("eve", "admin"))]).await;
    assert!(matches!(second, Err(BufferError::NotAllowed(why)) if why == "this box has a user already"));
    assert_eq!(buffer.reader().users().await.unwrap(), [user("ada", "admin")]);
    assert_eq!(buffer.reader().user("eve").await.unwrap(), None);
}

#[tokio::test]
async fn one_admin_of_the_box_itself_is_always_left() {
    let (_dir, buffer) = buffer();
    for row in [user("ada", "admin"), user("bob", "clinician")] {
        done(&buffer, AccountChange::Add(row)).await.unwrap();
    }
    let vouched = UserRow { source: "oidc".into(), subject: Some("x|1".into()), ..user("cleo", "admin") };
    done(&buffer, AccountChange::Vouched(vouched)).await.unwrap();
    let edit = |role: Option<&str>, disabled| AccountChange::Edit {
        name: "ada".into(),
        role: role.map(Into::into),
        disabled,
        grants: None,
    };
    for change in
        [edit(Some("engineer"), None), edit(None, Some(true)), AccountChange::Remove { name: "ada".into() }]
    {
        assert_eq!(done(&buffer, change).await, Err(LAST_ADMIN.into()));
    }
    done(&buffer, AccountChange::Add(user("dora", "admin"))).await.unwrap();
    done(&buffer, edit(Some("engineer"), None)).await.unwrap();
    assert_eq!(done(&buffer, AccountChange::Remove { name: "dora".into() }).await, Err(LAST_ADMIN.into()));
    assert_eq!(buffer.reader().user("ada").await.unwrap().unwrap().role, "engineer");
    done(&buffer, AccountChange::Remove { name: "ada".into() }).await.unwrap();
    assert!(done(&buffer, AccountChange::Remove { name: "nobody".into() }).await.is_err());
    assert_eq!(
        done(&buffer, AccountChange::Add(user("bob", "admin"))).await,
        Err("this name is taken".into())
    );
}

#[tokio::test]
async fn a_change_of_role_password_or_state_ends_the_users_sessions_and_nobody_elses() {
    let (_dir, buffer) = buffer();
    for row in [user("ada", "admin"), user("bob", "clinician")] {
        done(&buffer, AccountChange::Add(row)).await.unwrap();
    }
    let left = async || buffer.reader().sessions(Some("bob".into())).await.unwrap().len();
    let edit = |role: Option<&str>, disabled, grants: Option<&str>| AccountChange::Edit {
        name: "bob".into(),
        role: role.map(Into::into),
        disabled,
        grants: grants.map(Into::into),
    };
    let password = |keep| AccountChange::Password {
        name: "bob".into(),
        password: "$new".into(),
        must_change: false,
        keep,
    };
    let changes = [
        (edit(Some("engineer"), None, None), 0),
        (edit(None, Some(true), None), 0),
        (edit(None, None, Some("{\"places\":[\"ICU\"]}")), 0),
        (password(None), 0),
        (password(Some(vec![2; 32])), 1),
        (AccountChange::ResetFactors { user: "bob".into() }, 0),
        (AccountChange::EndSessions { user: "bob".into(), keep: Some(vec![1; 32]) }, 1),
    ];
    for (change, expected) in changes {
        for id in [1, 2] {
            buffer.put_session(session(id, "bob", 100)).await.unwrap();
        }
        buffer.put_session(session(9, "ada", 100)).await.unwrap();
        done(&buffer, change.clone()).await.unwrap();
        assert_eq!(left().await, expected, "{change:?}");
        assert!(buffer.reader().session(vec![9; 32]).await.unwrap().is_some());
    }
    let bob = buffer.reader().user("bob").await.unwrap().unwrap();
    assert_eq!((bob.role.as_str(), bob.disabled, bob.password.as_str()), ("engineer", true, "$new"));
}

#[tokio::test]
async fn sessions_end_one_by_one_and_by_time() {
    let (_dir, buffer) = buffer();
    for (id, name, expires) in [(1, "ada", 100), (2, "ada", 100), (3, "bob", 100), (4, "bob", 5)] {
        buffer.put_session(session(id, name, expires)).await.unwrap();
    }
    buffer.change(vec![Change::UseSession { id_hash: vec![3; 32], at: at(9) }]).await.unwrap();
    buffer.delete_session(vec![1; 32]).await.unwrap();
    buffer.change(vec![Change::EndExpiredSessions { now: at(5) }]).await.unwrap();
    let reader = buffer.reader();
    for id in [1, 4] {
        assert_eq!(reader.session(vec![id; 32]).await.unwrap(), None);
    }
    let bobs = reader.session(vec![3; 32]).await.unwrap().unwrap();
    assert_eq!(bobs.last_used, at(9));
    let end = |user: &str| AccountChange::EndSession { id: bobs.id, user: Some(user.into()) };
    assert!(done(&buffer, end("ada")).await.is_err(), "not her session");
    done(&buffer, end("bob")).await.unwrap();
    assert_eq!(reader.sessions(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_code_counts_once_even_for_two_at_once() {
    let (_dir, buffer) = buffer();
    done(&buffer, AccountChange::AddFactor(factor("ada", "totp", None))).await.unwrap();
    let id = buffer.reader().factors(Some("ada".into())).await.unwrap()[0].id;
    let once = || done(&buffer, AccountChange::UseFactor { id, counter: 7 });
    let both = futures_util::future::join(once(), once()).await;
    assert_eq!(both.0.is_ok() as u8 + both.1.is_ok() as u8, 1);
    assert!(done(&buffer, AccountChange::UseFactor { id, counter: 6 }).await.is_err());
    done(&buffer, AccountChange::UseFactor { id, counter: 8 }).await.unwrap();
    let codes = AccountChange::Recovery { user: "ada".into(), hashes: vec![vec![1; 32], vec![2; 32]] };
    done(&buffer, codes).await.unwrap();
    let spend = |hash: u8| AccountChange::SpendRecovery { user: "ada".into(), hash: vec![hash; 32] };
    done(&buffer, spend(1)).await.unwrap();
    assert!(done(&buffer, spend(1)).await.is_err());
    assert!(done(&buffer, spend(3)).await.is_err());
    assert!(
        done(&buffer, AccountChange::SpendRecovery { user: "eve".into(), hash: vec![2; 32] }).await.is_err()
    );
    done(&buffer, AccountChange::RemoveFactor { id, user: "ada".into() }).await.unwrap();
    assert!(buffer.reader().factors(None).await.unwrap().is_empty(), "codes go with the last factor");
}

#[tokio::test]
async fn a_passkey_that_does_not_count_may_be_used_again_and_one_credential_has_one_owner() {
    let (_dir, buffer) = buffer();
    done(&buffer, AccountChange::AddFactor(factor("ada", "passkey", Some(7)))).await.unwrap();
    assert!(done(&buffer, AccountChange::AddFactor(factor("eve", "passkey", Some(7)))).await.is_err());
    let id = buffer.reader().factors(None).await.unwrap()[0].id;
    for _ in 0..2 {
        done(&buffer, AccountChange::UseFactor { id, counter: 0 }).await.unwrap();
    }
    assert!(done(&buffer, AccountChange::RemoveFactor { id, user: "eve".into() }).await.is_err());
    for n in 0..31 {
        done(&buffer, AccountChange::AddFactor(factor("ada", "passkey", Some(100 + n)))).await.unwrap();
    }
    assert!(
        done(&buffer, AccountChange::AddFactor(factor("ada", "totp", None))).await.is_err(),
        "32 are enough"
    );
}

#[tokio::test]
async fn whom_another_system_vouches_for_is_known_by_subject_and_not_by_name() {
    let (_dir, buffer) = buffer();
    done(&buffer, AccountChange::Add(user("ada", "admin"))).await.unwrap();
    let of = |name: &str, subject: &str, role: &str| {
        let row = UserRow { source: "oidc".into(), subject: Some(subject.into()), ..user(name, role) };
        AccountChange::Vouched(row)
    };
    assert!(done(&buffer, of("ada", "x|1", "admin")).await.is_err(), "a local user is not taken over");
    done(&buffer, of("bob", "x|2", "clinician")).await.unwrap();
    assert!(done(&buffer, of("bob", "x|3", "clinician")).await.is_err(), "another person of the same name");
    buffer.put_session(session(1, "bob", 100)).await.unwrap();
    done(&buffer, of("bob", "x|2", "clinician")).await.unwrap();
    assert_eq!(buffer.reader().sessions(None).await.unwrap().len(), 1);
    done(&buffer, of("bob", "x|2", "auditor")).await.unwrap();
    assert_eq!(buffer.reader().sessions(None).await.unwrap().len(), 0, "another role, another log-in");
    let off = AccountChange::Edit { name: "bob".into(), role: None, disabled: Some(true), grants: None };
    done(&buffer, off).await.unwrap();
    assert!(done(&buffer, of("bob", "x|2", "auditor")).await.is_err(), "disabled here is disabled");
    let password =
        AccountChange::Password { name: "bob".into(), password: "$".into(), must_change: false, keep: None };
    assert!(done(&buffer, password).await.is_err(), "the password is the other system's");
}

#[tokio::test]
async fn a_role_of_the_clinics_own_follows_the_groups_unless_the_desk_gave_it() {
    let (_dir, buffer) = buffer();
    let said = |grants: &str| {
        let row =
            UserRow { source: "ldap".into(), subject: Some("uid=bob".into()), ..user("bob", "clinician") };
        AccountChange::Vouched(UserRow { grants: grants.into(), ..row })
    };
    let held = async || buffer.reader().user("bob").await.unwrap().unwrap().grants;
    let icu = r#"{"places":null,"own_role":"icu","from_group":true}"#;
    done(&buffer, said(icu)).await.unwrap();
    assert_eq!(held().await, icu);
    buffer.put_session(session(1, "bob", 100)).await.unwrap();
    done(&buffer, said(icu)).await.unwrap();
    assert_eq!(buffer.reader().sessions(None).await.unwrap().len(), 1, "nothing changed");
    done(&buffer, said(r#"{"own_role":"or","from_group":true}"#)).await.unwrap();
    assert!(held().await.contains(r#""own_role":"or""#));
    assert_eq!(buffer.reader().sessions(None).await.unwrap().len(), 0, "another role, another log-in");
    done(&buffer, said(r#"{"own_role":null}"#)).await.unwrap();
    assert!(!held().await.contains("from_group") && !held().await.contains("or\""), "{}", held().await);
    let desk = r#"{"places":["OR"],"own_role":"porter"}"#;
    let edit = |grants: &str| AccountChange::Edit {
        name: "bob".into(),
        role: None,
        disabled: None,
        grants: Some(grants.into()),
    };
    done(&buffer, edit(desk)).await.unwrap();
    done(&buffer, said(icu)).await.unwrap();
    assert_eq!(held().await, desk, "what the desk gave stays");
    done(&buffer, edit("not JSON")).await.unwrap();
    done(&buffer, said(icu)).await.unwrap();
    assert_eq!(held().await, "not JSON", "what cannot be read grants nothing, and goes on so");
}

#[tokio::test]
async fn tokens_and_emergencies_are_kept_until_they_end() {
    let (_dir, buffer) = buffer();
    let token = TokenRow {
        id: 0,
        user: "ada".into(),
        name: "scraper".into(),
        hash: vec![5; 32],
        permissions: "devices.see".into(),
        created: at(1),
        expires: at(50),
        last_used: None,
    };
    done(&buffer, AccountChange::AddToken(token.clone())).await.unwrap();
    let reader = buffer.reader();
    let kept = reader.token(vec![5; 32]).await.unwrap().unwrap();
    assert_eq!((kept.name.as_str(), kept.last_used), ("scraper", None));
    done(&buffer, AccountChange::UseToken { id: kept.id }).await.unwrap();
    assert_eq!(reader.tokens(Some("ada".into())).await.unwrap()[0].last_used, Some(at(1)));
    assert!(
        done(&buffer, AccountChange::RevokeToken { id: kept.id, user: Some("eve".into()) }).await.is_err()
    );
    done(&buffer, AccountChange::RevokeToken { id: kept.id, user: None }).await.unwrap();
    assert!(reader.token(vec![5; 32]).await.unwrap().is_none());

    let open = |until| AccountChange::BreakGlass {
        user: "ada".into(),
        reason: "code blue".into(),
        until: at(until),
    };
    done(&buffer, open(60)).await.unwrap();
    assert_eq!(reader.break_glass("ada", at(59)).await.unwrap().unwrap().reason, "code blue");
    assert!(reader.break_glass("ada", at(60)).await.unwrap().is_none(), "it ends by itself");
    assert!(reader.break_glass("bob", at(2)).await.unwrap().is_none());
    done(&buffer, open(90)).await.unwrap();
    assert_eq!(reader.break_glasses().await.unwrap().len(), 2);
    done(&buffer, AccountChange::EndBreakGlass { user: "ada".into() }).await.unwrap();
    assert!(reader.break_glass("ada", at(2)).await.unwrap().is_none());
    assert!(done(&buffer, AccountChange::EndBreakGlass { user: "ada".into() }).await.is_err());
}

#[tokio::test]
async fn the_command_line_sees_users_while_the_box_runs() {
    let (dir, buffer) = buffer();
    done(&buffer, AccountChange::Add(user("ada", "admin"))).await.unwrap();
    done(&buffer, AccountChange::AddFactor(factor("ada", "totp", None))).await.unwrap();
    buffer.put_session(session(1, "ada", 100)).await.unwrap();
    let seen = look_at_users(dir.path()).unwrap();
    assert_eq!((seen.len(), seen[0].factors.as_slice(), seen[0].sessions), (1, &["totp".to_string()][..], 1));
}

#[test]
fn nothing_secret_is_printed() {
    assert_eq!(format!("{:?}", user("ada", "admin")), "UserRow(ada, admin)");
    assert_eq!(format!("{:?}", session(9, "ada", 1)), "SessionRow(of ada)");
    assert_eq!(format!("{:?}", factor("ada", "totp", None)), "FactorRow(totp of ada)");
}
