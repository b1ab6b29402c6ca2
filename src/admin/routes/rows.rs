//! The rows of the table but for getting in and users (`entrance.rs`).

use super::*;

/// The table. Tests walk it: every role, every method, every body that is too long.
///
/// Each row names, with `.says(…)`, a constant beside its code that describes it: its name (unique, it becomes the name of
/// a function in programs made from the description), its topic, one sentence; then what it takes and gives.
///
/// ```text
/// pub(super) const TREND: Says = says("deviceTrend", DEVICES, "The last minutes of one metric of a device")
///     .asks(&[text("code", "the metric").needed(), number("minutes", 1, 1440, "how far back")])   // the query
///     .takes::<Wanted>()                    // the body: a type that derives Deserialize and ToSchema
///     .gives::<Trend>(200, "The points")    // the answer: a type that derives Serialize and ToSchema
///     .refuses(&[(409, "Why")]);            // beside 400, 401, 403, 404, 408, 413 and 503, which follow from the row
/// ```
///
/// What is said of the query is held against it before the route runs. Two types of one name need `#[schema(as = Other)]`;
/// a word that is one of few, `#[schema(schema_with = …)]` with [`words`](super::json::words). `BLESS=1 cargo nextest run
/// openapi` writes `web/openapi.json`; every answer in the tests of this room is held against it.
pub(super) const ROUTES: &[Route] = &[
    get("/api/openapi.json", PRESENCE, |desk, call| Box::pin(describe::openapi(desk, call)))
        .says(describe::OPENAPI),
    get("/api/v1/openapi.json", PRESENCE, |desk, call| Box::pin(describe::openapi(desk, call)))
        .says(describe::OPENAPI_V1),
    get("/healthz", Need::Nothing, |desk, call| Box::pin(probe::healthz(desk, call))).says(probe::HEALTHZ),
    get("/readyz", Need::Nothing, |desk, call| Box::pin(probe::readyz(desk, call))).says(probe::READYZ),
    get("/metrics", Need::Scraper, |desk, call| Box::pin(probe::metrics(desk, call))).says(probe::METRICS),
    get("/api/v1/overview", LOOK, |desk, call| Box::pin(look::overview(desk, call)))
        .says(look::OVERVIEW)
        .by_place(),
    get("/api/v1/live", LOOK, |desk, call| Box::pin(live::live(desk, call))).says(live::LIVE).by_place(),
    get("/api/v1/day", LOOK, |desk, call| Box::pin(look::day(desk, call))).says(look::DAY).by_place(),
    get("/api/v1/devices", LOOK, |desk, call| Box::pin(look::devices(desk, call)))
        .says(look::KNOWN)
        .by_place(),
    get("/api/v1/devices/{key}", LOOK, |desk, call| Box::pin(look::device(desk, call)))
        .says(look::DEVICE)
        .by_place(),
    get("/api/v1/devices/{key}/trend", LOOK, |desk, call| Box::pin(look::trend(desk, call)))
        .says(look::TREND)
        .by_place(),
    get("/api/v1/devices/{key}/waves", LOOK, |desk, call| Box::pin(look::waves(desk, call)))
        .says(look::WAVES)
        .by_place(),
    get("/api/v1/entries", READ, |desk, call| Box::pin(look::entries(desk, call)))
        .says(look::ENTRIES)
        .by_place(),
    get("/api/v1/entries/{id}", READ, |desk, call| Box::pin(look::entry(desk, call)))
        .says(look::ENTRY)
        .by_place(),
    get("/api/v1/entries/{id}/hl7", READ, |desk, call| Box::pin(look::hl7(desk, call)))
        .says(look::HL7)
        .by_place(),
    post("/api/v1/entries/{id}/release", RESEND, NO_BODY, |desk, call| Box::pin(act::release(desk, call)))
        .says(act::RELEASE)
        .by_place(),
    post("/api/v1/entries/{id}/replay", RESEND, NO_BODY, |desk, call| Box::pin(act::replay(desk, call)))
        .says(act::REPLAY)
        .by_place(),
    get("/api/v1/upstream", LOOK, |desk, call| Box::pin(look::upstream(desk, call))).says(look::UPSTREAM),
    post("/api/v1/upstream/test", Need::Session(Permission::TestUpstream), NO_BODY, |desk, call| {
        Box::pin(act::test_upstream(desk, call))
    })
    .says(act::TEST),
    get("/api/v1/pairing", PAIR, |desk, call| Box::pin(pair::standing(desk, call))).says(pair::STANDING),
    post("/api/v1/pairing/preview", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::preview(desk, call)))
        .says(pair::PREVIEW),
    post("/api/v1/pairing/accept", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::accept(desk, call)))
        .says(pair::ACCEPT),
    post("/api/v1/pairing/forget", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::forget(desk, call)))
        .says(pair::FORGET),
    post("/api/v1/pairing/links", PAIR, LINK_BODY, |desk, call| Box::pin(pair::add_link(desk, call)))
        .says(pair::ADD_LINK),
    post("/api/v1/pairing/links/{name}/remove", PAIR, NO_BODY, |desk, call| {
        Box::pin(pair::remove_link(desk, call))
    })
    .says(pair::REMOVE_LINK),
    get("/api/v1/pairing/ports", PAIR, |desk, call| Box::pin(pair::ports(desk, call))).says(pair::PORTS),
    get("/api/v1/pairing/scan", PAIR, |desk, call| Box::pin(pair::scanning(desk, call))).says(pair::SCANNING),
    post("/api/v1/pairing/scan", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::scan(desk, call)))
        .says(pair::SCAN),
    get("/api/v1/recordings", PAIR, |desk, call| Box::pin(record::list(desk, call))).says(record::LIST),
    post("/api/v1/recordings", PAIR, SMALL_BODY, |desk, call| Box::pin(record::start(desk, call)))
        .says(record::START),
    get("/api/v1/recordings/{name}", PAIR, |desk, call| Box::pin(record::export(desk, call)))
        .says(record::EXPORT),
    post("/api/v1/recordings/{name}/stop", PAIR, NO_BODY, |desk, call| Box::pin(record::stop(desk, call)))
        .says(record::STOP),
    post("/api/v1/recordings/{name}/remove", PAIR, NO_BODY, |desk, call| {
        Box::pin(record::remove(desk, call))
    })
    .says(record::REMOVE),
    post("/api/v1/search", READ, SMALL_BODY, |desk, call| Box::pin(sets::search(desk, call)))
        .says(sets::SEARCH),
    get("/api/v1/held", READ, |desk, call| Box::pin(sets::held(desk, call))).says(sets::HELD),
    post("/api/v1/sets", RESEND, SMALL_BODY, |desk, call| Box::pin(sets::freeze(desk, call)))
        .says(sets::FREEZE),
    get("/api/v1/sets/{token}", RESEND, |desk, call| Box::pin(sets::set(desk, call))).says(sets::SET),
    post("/api/v1/sets/{token}/run", RESEND, SMALL_BODY, |desk, call| Box::pin(sets::run(desk, call)))
        .says(sets::RUN)
        .risky(),
    get("/api/v1/entries/{id}/compare", RESEND, |desk, call| Box::pin(sets::compare(desk, call)))
        .says(sets::COMPARE),
    get("/api/v1/views", READ, |desk, call| Box::pin(sets::views(desk, call))).says(sets::VIEWS),
    post("/api/v1/views", READ, SMALL_BODY, |desk, call| Box::pin(sets::save_view(desk, call)))
        .says(sets::SAVE_VIEW),
    post("/api/v1/views/remove", READ, SMALL_BODY, |desk, call| Box::pin(sets::remove_view(desk, call)))
        .says(sets::REMOVE_VIEW),
    get("/api/v1/profiles", PROFILES, |desk, call| Box::pin(profiles::list(desk, call))).says(profiles::LIST),
    get("/api/v1/profiles/schema", PROFILES, |desk, call| Box::pin(profiles::schema(desk, call)))
        .says(profiles::SCHEMA),
    get("/api/v1/profiles/{profile}", PROFILES, |desk, call| Box::pin(profiles::page(desk, call)))
        .says(profiles::PAGE),
    get("/api/v1/profiles/{profile}/export", PROFILES, |desk, call| Box::pin(profiles::export(desk, call)))
        .says(profiles::EXPORT),
    post("/api/v1/profiles/{profile}/check", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::check(desk, call))
    })
    .says(profiles::CHECK),
    post("/api/v1/profiles/{profile}/run", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::run(desk, call))
    })
    .says(profiles::RUN),
    post("/api/v1/profiles/{profile}/save", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::save(desk, call))
    })
    .says(profiles::SAVE)
    .risky(),
    post("/api/v1/profiles/{profile}/revert", PROFILES, NO_BODY, |desk, call| {
        Box::pin(profiles::revert(desk, call))
    })
    .says(profiles::REVERT)
    .risky(),
    get("/api/v1/templates", PROFILES, |desk, call| Box::pin(profiles::templates(desk, call)))
        .says(profiles::TEMPLATES),
    get("/api/v1/templates/{name}", PROFILES, |desk, call| Box::pin(profiles::template(desk, call)))
        .says(profiles::TEMPLATE),
    post("/api/v1/templates/{name}/check", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::check_template(desk, call))
    })
    .says(profiles::CHECK_TEMPLATE),
    post("/api/v1/templates/{name}/run", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::run_template(desk, call))
    })
    .says(profiles::RUN_TEMPLATE),
    get("/api/v1/upstream/setup", UPSTREAMS, |desk, call| Box::pin(upstreams::set_up(desk, call)))
        .says(upstreams::SET_UP),
    post("/api/v1/upstream/discover", UPSTREAMS, LINK_BODY, |desk, call| {
        Box::pin(upstreams::discover(desk, call))
    })
    .says(upstreams::DISCOVER),
    post("/api/v1/upstream/try", UPSTREAMS, LINK_BODY, |desk, call| Box::pin(upstreams::try_out(desk, call)))
        .says(upstreams::TRY_OUT),
    post("/api/v1/upstream/keys", UPSTREAMS, SMALL_BODY, |desk, call| {
        Box::pin(upstreams::new_key(desk, call))
    })
    .says(upstreams::NEW_KEY)
    .risky(),
    post("/api/v1/upstream/keys/rotate", UPSTREAMS, NO_BODY, |desk, call| {
        Box::pin(upstreams::rotate(desk, call))
    })
    .says(upstreams::ROTATE)
    .risky(),
    post("/api/v1/upstream/keys/drop", UPSTREAMS, NO_BODY, |desk, call| {
        Box::pin(upstreams::drop_next(desk, call))
    })
    .says(upstreams::DROP_NEXT)
    .risky(),
    post("/api/v1/upstream/save", UPSTREAMS, LINK_BODY, |desk, call| Box::pin(upstreams::save(desk, call)))
        .says(upstreams::SAVE)
        .risky(),
    post("/api/v1/upstream/remove", UPSTREAMS, NO_BODY, |desk, call| Box::pin(upstreams::remove(desk, call)))
        .says(upstreams::REMOVE)
        .risky(),
    get("/api/v1/backups", BACKUP, |desk, call| Box::pin(system::backups(desk, call))).says(system::BACKUPS),
    post("/api/v1/backups", BACKUP, NO_BODY, |desk, call| Box::pin(system::make(desk, call)))
        .says(system::MAKE),
    get("/api/v1/backups/{name}", BACKUP, |desk, call| Box::pin(system::download(desk, call)))
        .says(system::DOWNLOAD)
        .risky(),
    post("/api/v1/backups/{name}/check", BACKUP, NO_BODY, |desk, call| Box::pin(system::check(desk, call)))
        .says(system::CHECK),
    post("/api/v1/backups/{name}/remove", BACKUP, NO_BODY, |desk, call| Box::pin(system::remove(desk, call)))
        .says(system::REMOVE)
        .risky(),
    post("/api/v1/backups/{name}/restore", BACKUP, NO_BODY, |desk, call| {
        Box::pin(system::restore(desk, call))
    })
    .says(system::RESTORE)
    .risky()
    .in_person(),
    post("/api/v1/backups/{name}/upload", BACKUP, PIECE_BODY, |desk, call| {
        Box::pin(system::upload(desk, call))
    })
    .says(system::UPLOAD),
    get("/api/v1/first-steps", SITE, |desk, call| Box::pin(site::steps(desk, call))).says(site::STEPS),
    post("/api/v1/first-steps", SITE, SMALL_BODY, |desk, call| Box::pin(site::put_off(desk, call)))
        .says(site::PUT_OFF),
    post("/api/v1/site", SITE, SMALL_BODY, |desk, call| Box::pin(site::save(desk, call)))
        .says(site::SAVE)
        .risky(),
    get("/api/v1/settings", SETTINGS, |desk, call| Box::pin(system::settings(desk, call)))
        .says(system::SETTINGS),
    get("/api/v1/sbom", PRESENCE, |desk, call| Box::pin(system::sbom(desk, call))).says(system::SBOM),
    get("/api/v1/licences", PRESENCE, |desk, call| Box::pin(system::licences(desk, call)))
        .says(system::LICENCES),
    get("/api/v1/updates", SETTINGS, |desk, call| Box::pin(system::updates(desk, call)))
        .says(system::UPDATES),
    post("/api/v1/updates/upload", SETTINGS, PIECE_BODY, |desk, call| {
        Box::pin(system::upload_update(desk, call))
    })
    .says(system::UPLOAD_UPDATE),
    post("/api/v1/updates/install", SETTINGS, SMALL_BODY, |desk, call| {
        Box::pin(system::install_update(desk, call))
    })
    .says(system::INSTALL_UPDATE)
    .risky()
    .in_person(),
    post("/api/v1/restart", SETTINGS, NO_BODY, |desk, call| Box::pin(system::restart(desk, call)))
        .says(system::RESTART)
        .risky(),
    get("/api/v1/worklist", WORKLIST, |desk, call| Box::pin(work::orders(desk, call))).says(work::ORDERS),
    post("/api/v1/worklist", WORKLIST, LINK_BODY, |desk, call| Box::pin(work::add(desk, call)))
        .says(work::ADD),
    post("/api/v1/worklist/find", WORKLIST, SMALL_BODY, |desk, call| Box::pin(work::find(desk, call)))
        .says(work::FIND),
    post("/api/v1/worklist/{id}/cancel", WORKLIST, NO_BODY, |desk, call| Box::pin(work::cancel(desk, call)))
        .says(work::CANCEL),
    get("/api/v1/destinations", LOOK, |desk, call| Box::pin(onward::destinations(desk, call)))
        .says(onward::DESTINATIONS),
    get("/api/v1/destinations/{name}/messages", READ, |desk, call| Box::pin(onward::messages(desk, call)))
        .says(onward::MESSAGES),
    post("/api/v1/destinations/{name}/pause", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::pause(desk, call))
    })
    .says(onward::PAUSE),
    post("/api/v1/destinations/{name}/resume", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::resume(desk, call))
    })
    .says(onward::RESUME),
    post("/api/v1/destinations/{name}/release", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::release_all(desk, call))
    })
    .says(onward::RELEASE_ALL)
    .risky(),
    post("/api/v1/destinations/{name}/replay", RESEND, SMALL_BODY, |desk, call| {
        Box::pin(onward::replay(desk, call))
    })
    .says(onward::REPLAY)
    .risky(),
    get("/api/v1/outgoing/{id}", READ, |desk, call| Box::pin(onward::message(desk, call)))
        .says(onward::MESSAGE),
    post("/api/v1/outgoing/{id}/release", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::release(desk, call))
    })
    .says(onward::RELEASE),
    post("/api/v1/outgoing/{id}/rebuild", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::rebuild(desk, call))
    })
    .says(onward::REBUILD),
    post("/api/v1/outgoing/{id}/drop", RESEND, SMALL_BODY, |desk, call| {
        Box::pin(onward::discard(desk, call))
    })
    .says(onward::DISCARD),
    get("/api/v1/associations", ASSOCIATE, |desk, call| Box::pin(associate::standing(desk, call)))
        .says(associate::STANDING)
        .by_place(),
    get("/api/v1/associations/devices/{key}", ASSOCIATE, |desk, call| {
        Box::pin(associate::timeline(desk, call))
    })
    .says(associate::TIMELINE)
    .by_place(),
    get("/api/v1/associations/doubts", ASSOCIATE, |desk, call| Box::pin(associate::doubts(desk, call)))
        .says(associate::DOUBTS),
    post("/api/v1/associations/find", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::find(desk, call))
    })
    .says(associate::FIND)
    .by_place(),
    post("/api/v1/associations", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::associate(desk, call))
    })
    .says(associate::ASSOCIATE)
    .by_place(),
    post("/api/v1/associations/home", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::home(desk, call))
    })
    .says(associate::HOME)
    .by_place(),
    post("/api/v1/associations/{id}/end", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::end(desk, call))
    })
    .says(associate::END)
    .by_place(),
    post("/api/v1/associations/{id}/correct", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::correct(desk, call))
    })
    .says(associate::CORRECT)
    .by_place(),
    post("/api/v1/people", READ, SMALL_BODY, |desk, call| Box::pin(people::search(desk, call)))
        .says(people::SEARCH),
    get("/api/v1/people/{id}", READ, |desk, call| Box::pin(people::person(desk, call))).says(people::PERSON),
    get("/api/v1/places", READ, |desk, call| Box::pin(people::places(desk, call))).says(people::PLACES),
    post("/api/v1/people/merges/{id}/undo", RESEND, NO_BODY, |desk, call| {
        Box::pin(people::unmerge(desk, call))
    })
    .says(people::UNMERGE)
    .risky(),
    get("/api/v1/certificate", SETTINGS, |desk, call| Box::pin(certificate::show(desk, call)))
        .says(certificate::SHOW),
    post("/api/v1/certificate", SETTINGS, CERTIFICATE_BODY, |desk, call| {
        Box::pin(certificate::upload(desk, call))
    })
    .says(certificate::UPLOAD)
    .risky()
    .in_person(),
    post("/api/v1/certificate/own", SETTINGS, NO_BODY, |desk, call| Box::pin(certificate::own(desk, call)))
        .says(certificate::OWN)
        .risky()
        .in_person(),
    get("/api/v1/certificate/acme", SETTINGS, |desk, call| Box::pin(certificate::acme(desk, call)))
        .says(certificate::ACME),
    post("/api/v1/certificate/acme", SETTINGS, CERTIFICATE_BODY * 2, |desk, call| {
        Box::pin(certificate::save_acme(desk, call))
    })
    .says(certificate::SAVE_ACME)
    .risky()
    .in_person(),
    post("/api/v1/certificate/acme/try", SETTINGS, NO_BODY, |desk, call| {
        Box::pin(certificate::try_acme(desk, call))
    })
    .says(certificate::TRY_ACME),
    post("/api/v1/certificate/acme/end", SETTINGS, NO_BODY, |desk, call| {
        Box::pin(certificate::end_acme(desk, call))
    })
    .says(certificate::END_ACME)
    .risky()
    .in_person(),
    get("/api/v1/audit", AUDIT, |desk, call| Box::pin(audit::rows(desk, call))).says(audit::ROWS),
    post("/api/v1/audit/verify", AUDIT, NO_BODY, |desk, call| Box::pin(audit::verify(desk, call)))
        .says(audit::VERIFY),
    get("/api/v1/audit/export", AUDIT, |desk, call| Box::pin(audit::export(desk, call))).says(audit::EXPORT),
    post("/api/v1/pairing/scan/stop", PAIR, NO_BODY, |desk, call| Box::pin(pair::stop_scan(desk, call)))
        .says(pair::STOP_SCAN),
];
