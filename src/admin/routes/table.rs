//! The table as tests walk it.
use super::{Found, Method, Need, find, routes};
use crate::access::Permission;

/// A row.
pub(in crate::admin) struct Row {
    pub(in crate::admin) method: Method,
    /// With each parameter filled: 1.
    pub(in crate::admin) path: String,
    /// What a session must be allowed to; `None` on routes that need none.
    pub(in crate::admin) permission: Option<Permission>,
    pub(in crate::admin) body_max: usize,
    pub(in crate::admin) id: &'static str,
}

pub(in crate::admin) fn rows() -> Vec<Row> {
    routes()
        .map(|route| Row {
            method: route.method.clone(),
            path: filled(route.path),
            permission: match route.need {
                Need::Session(permission) => Some(permission),
                Need::Nothing | Need::Scraper => None,
            },
            body_max: route.body_max,
            id: route.says.id,
        })
        .collect()
}

/// The row a request finds, as it is described.
pub(in crate::admin) fn pattern(method: &Method, path: &str) -> Option<&'static str> {
    match find(path, method) {
        Found::Route(route, _) => Some(route.path),
        Found::OtherMethod(_) | Found::Nothing => None,
    }
}

fn filled(pattern: &str) -> String {
    let fill = |segment| if str::starts_with(segment, '{') { "1" } else { segment };
    pattern.split('/').map(fill).collect::<Vec<_>>().join("/")
}
