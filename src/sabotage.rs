//! Faults that a build for the rigs commits on purpose, so that each rig can be seen to catch what it is there for.
//!
//! Feature `sabotage` builds them in, `BEDSIDE_SABOTAGE` names the one to commit. Without the feature every question here
//! is answered "no" at compile time and nothing of this is in the binary; with it a release does not compile.

#[cfg(all(feature = "sabotage", not(debug_assertions)))]
compile_error!("a build that commits faults on purpose is for the rigs only: never with a release profile");

/// The version as people read it; a sabotaged build says what it is.
pub const VERSION: &str = if cfg!(feature = "sabotage") {
    concat!(env!("CARGO_PKG_VERSION"), " SABOTAGED: this build commits faults on purpose, for tests only")
} else {
    env!("CARGO_PKG_VERSION")
};

/// What can be done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    AnswerBeforeCommit,
    AnswerOnError,
    SyncNormal,
    NoDedup,
    LateAnswer,
    DropOldest,
    SkipHash,
    LogValue,
    IgnoreOrder,
    RandomIds,
    WrongPatient,
    HotRetry,
    ForgetHeld,
    CountWrong,
    EditAudit,
    NeverReopen,
    Leak,
    NoLock,
    TakeNewer,
}

/// Whether this process commits this fault.
#[cfg(not(feature = "sabotage"))]
#[must_use]
pub const fn commits(_fault: Sabotage) -> bool {
    false
}

/// Whether this process commits this fault: `BEDSIDE_SABOTAGE` holds its name, as in [`Sabotage`].
#[cfg(feature = "sabotage")]
#[must_use]
pub fn commits(fault: Sabotage) -> bool {
    std::env::var_os("BEDSIDE_SABOTAGE").is_some_and(|name| name == *format!("{fault:?}"))
}
