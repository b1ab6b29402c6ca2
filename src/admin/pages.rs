//! The web pages inside the binary.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use warp::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, VARY,
};
use warp::http::{Response, StatusCode};
use warp::reply::Response as Answer;

use super::answer::{Problem, empty, with_type};

/// What `npm` built; empty when it did not.
#[derive(rust_embed::Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

const INDEX: &str = "index.html";
/// Smaller answers do not get smaller by it.
const GZIP_FROM: usize = 1_024;

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Bedside</title>\
    <h1>The desk's pages are not built</h1><p>This Bedside was built without its web pages. Run \
    <code>npm ci --prefix web</code>, then build again. Devices and delivery are not affected.</p></html>\n";

/// All pages, by path without the leading slash.
pub(super) struct Pages {
    files: HashMap<String, File>,
}

struct File {
    body: Bytes,
    kind: HeaderValue,
    etag: HeaderValue,
    cache: &'static str,
    /// Compressed when first asked for; `None` when that does not help.
    gzip: OnceLock<Option<Bytes>>,
}

impl Pages {
    /// What is in the binary.
    pub(super) fn embedded() -> Self {
        Self::of(Dist::iter().filter_map(|path| {
            let file = Dist::get(&path)?;
            let body = match file.data {
                Cow::Borrowed(fixed) => Bytes::from_static(fixed),
                Cow::Owned(read) => read.into(),
            };
            Some((path.into_owned(), body))
        }))
    }

    /// Pages from anywhere, for tests.
    pub(super) fn of(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self { files: files.into_iter().map(|(path, body)| (path.clone(), File::new(&path, body))).collect() }
    }

    /// Names what is embedded: the tag of the first page; `None` when nothing is.
    pub(super) fn tag(&self) -> Option<&str> {
        self.files.get(INDEX)?.etag.to_str().ok().map(|tag| tag.trim_start_matches("W/").trim_matches('"'))
    }

    /// The file at a path. A path without a dot in its last segment is one of the pages' own: the first page.
    pub(super) fn answer(&self, path: &str, headers: &HeaderMap) -> Answer {
        let name = path.strip_prefix('/').unwrap_or(path);
        let is_page = !name.rsplit('/').next().unwrap_or(name).contains('.')
            && !name.split('/').any(|s| s.starts_with('.'));
        match (self.files.get(name), self.files.get(INDEX)) {
            (Some(file), _) => file.answer(headers),
            (None, Some(index)) if is_page => index.answer(headers),
            (None, None) if is_page => {
                let mut answer = with_type("text/html; charset=utf-8", NOT_BUILT);
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer
            }
            _ => Problem::not_found().into_answer(),
        }
    }
}

impl File {
    fn new(path: &str, body: Bytes) -> Self {
        let kind = match path.rsplit('.').next() {
            Some("webmanifest") => "application/manifest+json".into(),
            _ => mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream").to_string(),
        };
        let charset = if kind.starts_with("text/") { "; charset=utf-8" } else { "" };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let tag: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            kind: header(&format!("{kind}{charset}")),
            // Weak: the same for the compressed and the plain form.
            etag: header(&format!("W/\"{tag}\"")),
            cache: if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" },
            gzip: OnceLock::new(),
            body,
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Answer {
        let gzip = if accepts_gzip(headers) {
            self.gzip.get_or_init(|| gzipped(&self.kind, &self.body))
        } else {
            &None
        };
        let mut answer = if knows(headers, &self.etag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            Response::new(gzip.as_ref().unwrap_or(&self.body).clone().into())
        };
        let sent = answer.headers_mut();
        let fixed: [(HeaderName, HeaderValue); 4] = [
            (CONTENT_TYPE, self.kind.clone()),
            (ETAG, self.etag.clone()),
            (CACHE_CONTROL, HeaderValue::from_static(self.cache)),
            (VARY, HeaderValue::from_static("accept-encoding")),
        ];
        for (name, value) in fixed {
            sent.insert(name, value);
        }
        if gzip.is_some() {
            sent.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

/// Vite puts a hash into the names under `assets/`: such a file never changes.
fn is_hashed(path: &str) -> bool {
    path.starts_with("assets/")
}

fn knows(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(etag) = etag.to_str().ok().and_then(|tag| tag.strip_prefix("W/")) else { return false };
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag)
}

/// RFC 9110 §12.5.3: named, and not with a weight of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused =
                weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
            name.trim().eq_ignore_ascii_case("gzip").then_some(!refused)
        })
        .any(|accepted| accepted)
}

fn gzipped(kind: &HeaderValue, body: &[u8]) -> Option<Bytes> {
    let kind = kind.to_str().ok()?;
    let texty = ["text/", "javascript", "json", "svg", "xml", "wasm"].iter().any(|word| kind.contains(word));
    if !texty || body.len() < GZIP_FROM {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).ok()?;
    let smaller = encoder.finish().ok()?;
    (smaller.len() < body.len()).then(|| smaller.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let script = "let a = 1;\n".repeat(500);
        Pages::of([
            ("index.html".to_string(), Bytes::from_static(b"<!doctype html>")),
            ("assets/app-1a2b.js".to_string(), Bytes::from(script)),
            ("favicon.svg".to_string(), Bytes::from_static(b"<svg/>")),
        ])
    }

    fn ask(pages: &Pages, path: &str, lines: &[(&'static str, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        pages.answer(path, &headers)
    }

    fn header(answer: &Answer, name: HeaderName) -> &str {
        answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn hashed_files_are_kept_for_ever_and_the_first_page_never_unasked() {
        let pages = pages();
        let script = ask(&pages, "/assets/app-1a2b.js", &[]);
        assert_eq!(header(&script, CACHE_CONTROL), "public, max-age=31536000, immutable");
        assert_eq!(header(&script, CONTENT_TYPE), "text/javascript; charset=utf-8");
        for path in ["/", "/devices/ACME", "/entries"] {
            let page = ask(&pages, path, &[]);
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            assert_eq!(header(&page, CACHE_CONTROL), "no-cache");
            assert_eq!(header(&page, CONTENT_TYPE), "text/html; charset=utf-8");
        }
    }

    #[test]
    fn a_missing_file_is_not_answered_with_the_first_page() {
        for path in ["/assets/gone.js", "/../Cargo.toml", "/%2e%2e/x.toml", "//etc/passwd.txt"] {
            assert_eq!(ask(&pages(), path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let pages = pages();
        let tag = header(&ask(&pages, "/", &[]), ETAG).to_string();
        let again = ask(&pages, "/", &[("if-none-match", &format!("\"x\", {tag}"))]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, ETAG), tag);
        assert_eq!(ask(&pages, "/", &[("if-none-match", "\"x\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn scripts_are_compressed_for_those_who_can_read_it() {
        let pages = pages();
        let coding = |accept: &str| {
            let answer = ask(&pages, "/assets/app-1a2b.js", &[("accept-encoding", accept)]);
            header(&answer, CONTENT_ENCODING).to_string()
        };
        assert_eq!(coding("br, gzip;q=0.8"), "gzip");
        assert_eq!(coding("gzip;q=0"), "");
        assert_eq!(coding("br"), "");
        let small = ask(&pages, "/favicon.svg", &[("accept-encoding", "gzip")]);
        assert_eq!(header(&small, CONTENT_ENCODING), "");
    }

    #[test]
    fn a_build_without_pages_says_how_to_build_them() {
        let none = Pages::of([]);
        assert_eq!(none.tag(), None);
        assert_eq!(ask(&none, "/", &[]).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&none, "/assets/app.js", &[]).status(), StatusCode::NOT_FOUND);
        assert!(NOT_BUILT.contains("npm ci --prefix web"));
    }
}
