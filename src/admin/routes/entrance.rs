//! The rows of getting in, of one's own account and of users: who may, how fresh the proof must be, in person or by token.

use super::{
    LINK_BODY, NO_BODY, Need, PRESENCE, Route, SMALL_BODY, account, enrol, enter, factor, get, post, users,
    vouched,
};
use crate::access::{Permission, Stage};
use crate::admin::admission::ANY_STAGE;

const USERS: Need = Need::Session(Permission::Users);
/// Where a second factor is being made because there must be one.
const ENROLLING: &[Stage] = &[Stage::Enrol];

/// A part of the table.
pub(super) const ROUTES: &[Route] = &[
    get("/api/v1/setup", Need::Nothing, |desk, call| Box::pin(enter::setup_state(desk, call)))
        .says(enter::SETUP_STATE),
    post("/api/v1/setup", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::setup(desk, call)))
        .says(enter::SETUP),
    post("/api/v1/login", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::login(desk, call)))
        .says(enter::LOGIN),
    post("/api/v1/logout", PRESENCE, NO_BODY, |desk, call| Box::pin(enter::logout(desk, call)))
        .entering(ANY_STAGE)
        .in_person()
        .says(enter::LOGOUT),
    get("/api/v1/session", PRESENCE, |desk, call| Box::pin(enter::session(desk, call)))
        .entering(ANY_STAGE)
        .says(enter::SESSION),
    post("/api/v1/factor/challenge", PRESENCE, NO_BODY, |desk, call| Box::pin(factor::challenge(desk, call)))
        .entering(ANY_STAGE)
        .in_person()
        .says(factor::CHALLENGE),
    post("/api/v1/factor/prove", PRESENCE, LINK_BODY, |desk, call| Box::pin(factor::prove(desk, call)))
        .entering(ANY_STAGE)
        .in_person()
        .says(factor::PROVE),
    post("/api/v1/factor/fresh", PRESENCE, NO_BODY, |desk, call| Box::pin(factor::fresh(desk, call)))
        .risky()
        .in_person()
        .says(factor::FRESH),
    get("/api/v1/oidc/begin", Need::Nothing, |desk, call| Box::pin(vouched::begin(desk, call)))
        .says(vouched::BEGIN),
    get("/api/v1/oidc/return", Need::Nothing, |desk, call| Box::pin(vouched::back(desk, call)))
        .says(vouched::BACK),
    get("/api/v1/account", PRESENCE, |desk, call| Box::pin(enrol::account(desk, call)))
        .entering(ANY_STAGE)
        .in_person()
        .says(enrol::ACCOUNT_OF_ONE),
    post("/api/v1/account/totp/begin", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(enrol::totp_begin(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person()
    .says(enrol::TOTP_BEGIN),
    post("/api/v1/account/totp", PRESENCE, SMALL_BODY, |desk, call| Box::pin(enrol::totp_add(desk, call)))
        .entering(ENROLLING)
        .risky()
        .in_person()
        .says(enrol::TOTP_ADD),
    post("/api/v1/account/passkey/begin", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(enrol::passkey_begin(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person()
    .says(enrol::PASSKEY_BEGIN),
    post("/api/v1/account/passkey", PRESENCE, LINK_BODY, |desk, call| {
        Box::pin(enrol::passkey_add(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person()
    .says(enrol::PASSKEY_ADD),
    post("/api/v1/account/recovery", PRESENCE, NO_BODY, |desk, call| Box::pin(enrol::recovery(desk, call)))
        .risky()
        .in_person()
        .says(enrol::RECOVERY),
    post("/api/v1/account/factors/{id}/remove", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(enrol::remove(desk, call))
    })
    .risky()
    .in_person()
    .says(enrol::REMOVE),
    post("/api/v1/account/password", PRESENCE, SMALL_BODY, |desk, call| {
        Box::pin(account::password(desk, call))
    })
    .entering(&[Stage::Password])
    .risky()
    .in_person()
    .says(account::PASSWORD),
    get("/api/v1/account/sessions", PRESENCE, |desk, call| Box::pin(account::sessions(desk, call)))
        .in_person()
        .says(account::SESSIONS),
    post("/api/v1/account/sessions/end-others", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_others(desk, call))
    })
    .in_person()
    .says(account::END_OTHERS),
    post("/api/v1/account/sessions/{id}/end", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_session(desk, call))
    })
    .in_person()
    .says(account::END_SESSION),
    get("/api/v1/account/tokens", PRESENCE, |desk, call| Box::pin(account::tokens(desk, call)))
        .in_person()
        .says(account::TOKENS),
    post("/api/v1/account/tokens", PRESENCE, SMALL_BODY, |desk, call| {
        Box::pin(account::add_token(desk, call))
    })
    .risky()
    .in_person()
    .says(account::ADD_TOKEN),
    post("/api/v1/account/tokens/{id}/revoke", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::revoke_token(desk, call))
    })
    .in_person()
    .says(account::REVOKE_TOKEN),
    post("/api/v1/break-glass", Need::Session(Permission::BreakGlass), SMALL_BODY, |desk, call| {
        Box::pin(account::break_glass(desk, call))
    })
    .risky()
    .in_person()
    .by_place()
    .says(account::BREAK_GLASS),
    post("/api/v1/break-glass/end", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_break_glass(desk, call))
    })
    .in_person()
    .says(account::END_BREAK_GLASS),
    get("/api/v1/break-glass", Need::Session(Permission::Audit), |desk, call| {
        Box::pin(account::break_glasses(desk, call))
    })
    .says(account::BREAK_GLASSES),
    get("/api/v1/users", USERS, |desk, call| Box::pin(users::list(desk, call))).says(users::LIST),
    post("/api/v1/users", USERS, SMALL_BODY, |desk, call| Box::pin(users::add(desk, call)))
        .risky()
        .in_person()
        .says(users::ADD),
    post("/api/v1/users/{name}/change", USERS, LINK_BODY, |desk, call| Box::pin(users::edit(desk, call)))
        .risky()
        .in_person()
        .says(users::EDIT),
    post("/api/v1/users/{name}/password", USERS, NO_BODY, |desk, call| {
        Box::pin(users::reset_password(desk, call))
    })
    .risky()
    .in_person()
    .says(users::RESET_PASSWORD),
    post("/api/v1/users/{name}/factors/reset", USERS, NO_BODY, |desk, call| {
        Box::pin(users::reset_factors(desk, call))
    })
    .risky()
    .in_person()
    .says(users::RESET_FACTORS),
    post("/api/v1/users/{name}/remove", USERS, NO_BODY, |desk, call| Box::pin(users::remove(desk, call)))
        .risky()
        .in_person()
        .says(users::REMOVE),
    get("/api/v1/users/{name}/sessions", USERS, |desk, call| Box::pin(users::sessions(desk, call)))
        .says(users::SESSIONS),
    post("/api/v1/users/{name}/sessions/end", USERS, NO_BODY, |desk, call| {
        Box::pin(users::end_sessions(desk, call))
    })
    .in_person()
    .says(users::END_SESSIONS),
];
