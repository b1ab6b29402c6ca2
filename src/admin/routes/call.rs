//! One request to one route, taken apart.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use warp::http::HeaderMap;

use crate::admin::admission::Presence;
use crate::admin::answer::Problem;

/// Longest parameter in a path or query: device keys have at most 200 bytes.
pub(super) const PARAMETER_MAX: usize = 512;

/// What a route gets to see.
pub(in crate::admin) struct Call {
    /// The path's parameters, decoded.
    pub(super) parameters: Vec<String>,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(in crate::admin) peer: IpAddr,
    /// Host and port the desk was called by.
    pub(super) authority: Option<String>,
    /// Who asks, on routes that need a session.
    pub(super) presence: Option<Presence>,
}

impl Call {
    /// Who asks; the table says that this route needs a session.
    pub(in crate::admin) fn presence(&self) -> Result<&Presence, Problem> {
        self.presence.as_ref().ok_or_else(Problem::unauthenticated)
    }

    /// Who asks and from where, without what was asked.
    pub(super) fn looker(&self) -> Self {
        Self {
            parameters: Vec::new(),
            query: HashMap::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: self.peer,
            authority: None,
            presence: self.presence.clone(),
        }
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // The fault names a line, a column and a field of ours, but may quote what was sent: not passed on.
        serde_json::from_slice(&self.body).map_err(|_| Problem::bad("the body is not the JSON expected here"))
    }

    /// The first parameter of the path.
    pub(super) fn parameter(&self) -> Result<&str, Problem> {
        self.parameters.first().map(String::as_str).ok_or_else(Problem::not_found)
    }

    /// The first parameter of the path as an entry's id; what cannot be one is not found.
    pub(super) fn id(&self) -> Result<i64, Problem> {
        self.parameter()?.parse().ok().filter(|id| *id > 0).ok_or_else(Problem::not_found)
    }

    /// A query parameter that is there and not empty.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty() && value.len() <= PARAMETER_MAX)
    }

    /// A query parameter as a number within bounds, else `otherwise`.
    pub(super) fn number<T: FromStr + PartialOrd>(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.asked(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.map(Some).ok_or_else(|| Problem::bad(format!("\"{name}\" is not a number that is taken here")))
    }
}

/// A segment of a path with its escapes undone; `None` for what is too long, no text or holds control characters.
pub(super) fn decoded(segment: &str) -> Option<String> {
    if segment.is_empty() || segment.len() > 3 * PARAMETER_MAX {
        return None;
    }
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (text.len() <= PARAMETER_MAX && !text.chars().any(char::is_control)).then(|| text.into_owned())
}

/// For the fuzzing rig: any path finds a route, a page or nothing, and a parameter never holds a control character.
pub(in crate::admin) fn fuzz(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    if let super::Found::Route(_, parameters) = super::find(path, &warp::http::Method::GET) {
        assert!(parameters.iter().all(|p| !p.is_empty() && p.len() <= PARAMETER_MAX && !p.contains('\0')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_key_with_slashes_is_one_segment() {
        assert_eq!(decoded("ACME%2FMon%20X%2F12").as_deref(), Some("ACME/Mon X/12"));
        assert_eq!(decoded("%C3%A9").as_deref(), Some("é"));
    }

    #[test]
    fn what_is_no_text_is_no_parameter() {
        for segment in ["", "%ff", "%00", "a%0d%0ab", &"a".repeat(513), &"%41".repeat(600)] {
            assert_eq!(decoded(segment), None, "{segment}");
        }
    }

    #[test]
    fn any_path_is_survived() {
        for seed in ["/api/v1/devices/%2e%2e/trend", "/api/v1/entries/%", "//", "/api/v1/devices//trend", "é"]
        {
            fuzz(seed.as_bytes());
        }
    }
}
