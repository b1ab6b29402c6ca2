//! What stands around every route: headers on every answer, proof that a change was asked for by our own page,
//! and the session's cookie.

use warp::http::HeaderMap;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::access::TokenHash;

/// The session's cookie. The `__Host-` prefix binds it to this host, to HTTPS and to `Path=/` (RFC 6265bis §4.1.3).
pub(super) const COOKIE_NAME: &str = "__Host-bedside";
/// What remembers a browser that a second factor was proven in.
const BROWSER_COOKIE: &str = "__Host-bedside-browser";
/// The header our pages send with every change; a form of another site cannot.
pub(super) const CSRF_HEADER: &str = "x-bedside-csrf";
/// Most of a cookie header that is looked at.
const COOKIE_HEADER_MAX: usize = 8_192;

/// Only what is on the box itself, no inline script or style, never in a frame.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Puts the security headers on an answer. Whatever a route set itself stays, so that pages may be cached.
pub(super) fn dress(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 7] = [
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (CONTENT_SECURITY_POLICY, CSP),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Whether a change was asked for by a page of this very origin.
///
/// Our header must be there; and the browser must vouch for the page, by `Sec-Fetch-Site: same-origin` or by an
/// `Origin` that is this host. What either says against it counts, whatever the other says. `authority` is the
/// host and port of the request itself.
pub(super) fn same_origin(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let ours = says(headers, CSRF_HEADER, |value| value == "1");
    let site = says(headers, "sec-fetch-site", |site| site == "same-origin");
    let origin = says(headers, ORIGIN.as_str(), |origin| authority.is_some_and(|own| is_own(origin, own)));
    ours == Some(true) && site != Some(false) && origin != Some(false) && (site.is_some() || origin.is_some())
}

/// Whether the one header of this name is as it should be; a second one, or one that is no text, is not.
fn says(headers: &HeaderMap, name: &str, right: impl Fn(&str) -> bool) -> Option<bool> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(values.next().is_none() && first.to_str().is_ok_and(right))
}

/// Whether `origin` is `https://` and this authority. The default port may stand in one and not in the other.
fn is_own(origin: &str, authority: &str) -> bool {
    let plain = |host: &str| host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
    origin.strip_prefix("https://").is_some_and(|host| !host.is_empty() && plain(host) == plain(authority))
}

/// The host and port a request was made to: HTTP/2's `:authority`, else the one `Host` header.
pub(super) fn authority<'a>(of_uri: Option<&'a str>, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (of_uri, hosts.next(), hosts.next()) {
        (Some(authority), ..) => Some(authority),
        (None, Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// The session a request claims. Two cookies of our name are none: someone else set one of them.
pub(super) fn claimed_session(headers: &HeaderMap) -> Option<TokenHash> {
    let mut ours = cookies(headers, COOKIE_NAME);
    match (ours.next(), ours.next()) {
        (Some(token), None) => TokenHash::of(token),
        _ => None,
    }
}

/// What a browser says it is remembered by; two are none.
pub(super) fn claimed_browser(headers: &HeaderMap) -> Option<&str> {
    let mut ours = cookies(headers, BROWSER_COOKIE);
    match (ours.next(), ours.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// `Set-Cookie` that has a browser remembered for so many days.
pub(super) fn browser_cookie(value: &str, days: u32) -> String {
    let seconds = u64::from(days) * 86_400;
    format!("{BROWSER_COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}")
}

/// The values of all cookies of this name.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter(|value| value.len() <= COOKIE_HEADER_MAX)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(own, _)| *own == name)
        .map(|(_, value)| value)
}

/// `Set-Cookie` for a new session; the browser forgets it when the session is over in any case.
pub(super) fn cookie(token: &str) -> String {
    let seconds = crate::access::SESSION_LIFE.as_secs();
    format!("{COOKIE_NAME}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}")
}

/// `Set-Cookie` that takes the session's cookie away.
pub(super) fn no_cookie() -> String {
    format!("{COOKIE_NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// For the fuzzing rig: whatever stands in these headers, nothing panics and no foreign origin passes.
pub(super) fn fuzz(bytes: &[u8]) {
    let mut lines = bytes.split(|b| *b == b'\n');
    let mut headers = HeaderMap::new();
    headers.insert(CSRF_HEADER, HeaderValue::from_static("1"));
    for (name, line) in [(ORIGIN, lines.next()), (HOST, lines.next()), (COOKIE, lines.next())] {
        if let Some(Ok(value)) = line.map(HeaderValue::from_bytes) {
            headers.append(name, value);
        }
    }
    let host = authority(None, &headers).map(str::to_string);
    assert!(
        !same_origin(&headers, host.as_deref())
            || headers.get(ORIGIN).is_some_and(|o| o.as_bytes().starts_with(b"https://")),
        "only an https origin can be our own"
    );
    claimed_session(&headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_page_may_change_anything() {
        let host = Some("box.local:8443");
        let own = ("origin", "https://box.local:8443");
        let ours = (CSRF_HEADER, "1");
        let cases: &[(&[(&'static str, &str)], bool)] = &[
            (&[ours, own], true),
            (&[ours, ("sec-fetch-site", "same-origin")], true),
            (&[ours, own, ("sec-fetch-site", "same-origin")], true),
            (&[ours, ("origin", "https://BOX.local:8443")], true),
            (&[ours], false),
            (&[own], false),
            (&[(CSRF_HEADER, "0"), own], false),
            (&[ours, ("origin", "https://evil.example")], false),
            (&[ours, ("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
            (&[ours, own, ("sec-fetch-site", "cross-site")], false),
            (&[ours, own, ("sec-fetch-site", "same-site")], false),
            (&[ours, ("origin", "null")], false),
            (&[ours, ("origin", "http://box.local:8443")], false),
            (&[ours, ("origin", "https://box.local:8443.evil.example")], false),
            (&[ours, ("origin", "https://")], false),
        ];
        for (lines, expected) in cases {
            assert_eq!(same_origin(&headers(lines), host), *expected, "{lines:?}");
        }
        assert!(!same_origin(&headers(&[ours, own]), None), "a request to no host is nobody's own");
        assert!(same_origin(&headers(&[ours, ("origin", "https://box")]), Some("box:443")));
    }

    #[test]
    fn a_session_is_claimed_by_exactly_one_cookie_of_ours() {
        let token = crate::access::Token::make().unwrap();
        let one = format!("theme=dark; {COOKIE_NAME}={}; x", token.text());
        assert_eq!(claimed_session(&headers(&[("cookie", &one)])), Some(token.hash()));
        let twice = format!("{one}; {COOKIE_NAME}=planted");
        assert_eq!(claimed_session(&headers(&[("cookie", &twice)])), None);
        assert_eq!(claimed_session(&headers(&[("cookie", &one), ("cookie", &one)])), None);
        for cookie in ["", "=", ";;;", "__Host-bedside", "__Host-bedside=short", "bedside=x"] {
            assert_eq!(claimed_session(&headers(&[("cookie", cookie)])), None, "{cookie}");
        }
    }

    #[test]
    fn two_host_headers_are_no_host() {
        assert_eq!(authority(None, &headers(&[("host", "a"), ("host", "b")])), None);
        assert_eq!(authority(Some("c"), &headers(&[("host", "a")])), Some("c"));
    }

    #[test]
    fn whatever_stands_in_the_headers_is_survived() {
        for seed in
            [&b""[..], b"https://a\na\nx=y", b"\xff\xfe\n:443\n__Host-bedside=", b"https://:443\n\n;=;"]
        {
            fuzz(seed);
        }
    }
}
