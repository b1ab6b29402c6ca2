//! A server that cuts, lies, changes its mind or is somebody else's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::disk::Real;
use super::fetch::{Source, address};
use super::install::Trust;
use super::rig::{BoxFolder, FAR, Publisher, now};
use super::{Config, Newest, UpdateError, publish};

/// What the server does.
#[derive(Clone, Default)]
struct Manner {
    newest: Vec<u8>,
    file: Vec<u8>,
    tag: &'static str,
    /// Sends so many bytes of a body and hangs up.
    cut: Option<usize>,
    ignores_range: bool,
    refuses_range: bool,
    /// Says this length and that part whatever it sends.
    length: Option<usize>,
    part: Option<&'static str>,
    /// Sends without a length.
    endless: bool,
}

/// What a server may do wrong, and how.
type Lie = (&'static str, fn(&mut Manner));

struct Rig {
    manner: Arc<Mutex<Manner>>,
    /// Where each request for the file began, by its Range.
    asked: Arc<Mutex<Vec<usize>>>,
    folder: BoxFolder,
    publisher: Publisher,
    config: Config,
}

fn answer(manner: &Manner, request: &str) -> (Vec<u8>, usize) {
    let field = |name: &str| {
        request.lines().find_map(|line| Some(line.to_lowercase().strip_prefix(name)?.trim().to_owned()))
    };
    if request.starts_with("GET /x/newest.json ") {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", manner.newest.len());
        return ([head.as_bytes(), &manner.newest].concat(), 0);
    }
    let wanted =
        field("range:").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from = wanted.unwrap_or(0);
    let same = field("if-range:").as_deref() == Some(manner.tag);
    if wanted.is_some() && manner.refuses_range {
        return (b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n".to_vec(), from);
    }
    let partly = from > 0 && same && !manner.ignores_range;
    let body = if partly { &manner.file[from..] } else { &manner.file[..] };
    let whole = manner.file.len();
    let mut head = match partly {
        true => {
            let part = format!("bytes {from}-{}/{whole}", whole - 1);
            format!("HTTP/1.1 206 Part\r\nContent-Range: {}\r\n", manner.part.unwrap_or(&part))
        }
        false => "HTTP/1.1 200 OK\r\n".into(),
    };
    match manner.endless {
        true => head += "Connection: close\r\n",
        false => head += &format!("Content-Length: {}\r\n", manner.length.unwrap_or(body.len())),
    }
    head += &format!("ETag: {}\r\n\r\n", manner.tag);
    let body = &body[..manner.cut.unwrap_or(body.len()).min(body.len())];
    ([head.as_bytes(), body].concat(), from)
}

impl Rig {
    async fn new() -> Self {
        let (manner, asked) = (Arc::new(Mutex::new(Manner::default())), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x/", listener.local_addr().unwrap());
        let (shared, requests) = (manner.clone(), asked.clone());
        tokio::spawn(async move {
            loop {
                let (mut line, _) = listener.accept().await.unwrap();
                let (mut request, mut room) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"\r\n\r\n") {
                    let read = line.read(&mut room).await.unwrap();
                    request.extend_from_slice(&room[..read]);
                    if read == 0 {
                        break;
                    }
                }
                let request = String::from_utf8(request).unwrap();
                let manner = shared.lock().unwrap().clone();
                let (bytes, from) = answer(&manner, &request);
                if !request.contains("newest.json") {
                    requests.lock().unwrap().push(from);
                }
                drop(line.write_all(&bytes).await);
                drop(line.shutdown().await);
            }
        });
        let publisher = Publisher::new();
        let folder = BoxFolder::with(&publisher, 5, b"five");
        let config = Config { root: PathBuf::from("/r"), confirm_after_s: 60, url: Some(url), ca_file: None };
        Self { manner, asked, folder, publisher, config }
    }

    fn source(&self) -> Source {
        Source::new(&self.config, &self.folder.dir).unwrap()
    }

    fn publish(&self, publisher: &Publisher, version: u64, change: impl Fn(&mut publish::NewRelease)) {
        let mut new = publisher.new_release(version, &vec![b'7'; 200_000]);
        change(&mut new);
        let file = publisher.write(&new, &publisher.release_signers());
        let roots = [&publisher.roots[..]].concat();
        let last = publish::last(&roots).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let mut archive = super::archive::Archive::new(&bytes[..]);
        let mut release = None;
        while let Some((name, _)) = archive.member().unwrap() {
            if matches!(name, super::archive::Name::Release) {
                release = Some(last.release(&archive.whole().unwrap()).unwrap());
                break;
            }
            archive.whole().unwrap();
        }
        let newest = publish::newest(&release.unwrap(), &roots, &publisher.release_signers(), &file).unwrap();
        let mut manner = self.manner.lock().unwrap();
        (manner.newest, manner.file, manner.tag) = (std::fs::read(newest).unwrap(), bytes, "\"one\"");
    }

    fn manner(&self, change: impl Fn(&mut Manner)) {
        change(&mut self.manner.lock().unwrap());
    }

    async fn newest(&self) -> Result<Newest, UpdateError> {
        let trust = Trust::new(self.publisher.anchor(), &self.folder.slots(&Real), now()).unwrap();
        self.source().newest(&trust).await
    }

    async fn fetch(&self) -> Result<Vec<u8>, UpdateError> {
        let newest = self.newest().await?;
        self.source().download(&newest).await.map(|path| std::fs::read(path).unwrap())
    }

    fn is_whole(&self, fetched: Result<Vec<u8>, UpdateError>) {
        assert_eq!(fetched.unwrap(), self.manner.lock().unwrap().file);
    }

    fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Begins a download that is cut after so many bytes.
    async fn cut(&self, after: usize) {
        self.manner(|manner| manner.cut = Some(after));
        let cut = self.fetch().await.unwrap_err();
        assert!(matches!(cut, UpdateError::Away(_)), "{cut}");
        self.manner(|manner| manner.cut = None);
        self.asked();
    }
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_stopped_and_begins_anew_where_it_must() {
    let rig = Rig::new().await;
    rig.publish(&rig.publisher, 7, |_| ());
    rig.cut(50_000).await;
    rig.is_whole(rig.fetch().await);
    assert_eq!(rig.asked(), [50_000]);
    rig.is_whole(rig.fetch().await);
    assert!(rig.asked().is_empty(), "what is here is not fetched again");
    for (version, change) in [
        (8, (|manner: &mut Manner| manner.ignores_range = true) as fn(&mut Manner)),
        (9, |manner| manner.refuses_range = true),
        (10, |manner| manner.tag = "\"two\""),
    ] {
        rig.publish(&rig.publisher, version, |_| ());
        rig.cut(50_000).await;
        rig.manner(change);
        rig.is_whole(rig.fetch().await);
        rig.manner(|manner| (manner.ignores_range, manner.refuses_range) = (false, false));
    }
}

#[tokio::test]
async fn a_server_that_lies_about_lengths_or_bytes_is_refused_and_nothing_is_kept_of_it() {
    let rig = Rig::new().await;
    rig.publish(&rig.publisher, 7, |_| ());
    let good = rig.manner.lock().unwrap().clone();
    let lies: [Lie; 4] = [
        ("another length", |manner| manner.length = Some(17)),
        ("sends more", |manner| {
            manner.endless = true;
            manner.file.push(b'!');
        }),
        ("SHA-256", |manner| manner.file[100_000] ^= 1),
        ("another part", |manner| manner.part = Some("bytes 0-9/10")),
    ];
    for (why, lie) in lies {
        if why == "another part" {
            rig.cut(50_000).await;
        }
        rig.manner(lie);
        let refused = rig.fetch().await.unwrap_err();
        assert!(matches!(&refused, UpdateError::Mismatch(said) if said.contains(why)), "{why}: {refused}");
        assert!(!rig.folder.dir.join("fetched.update").exists());
        *rig.manner.lock().unwrap() = good.clone();
    }
    rig.is_whole(rig.fetch().await);
}

#[tokio::test]
async fn what_is_newest_must_be_signed_current_and_for_this_box() {
    let rig = Rig::new().await;
    rig.publish(&Publisher::new(), 7, |_| ());
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Signature(_)));
    rig.publish(&rig.publisher, 7, |new| new.expires = "2025-12-31T00:00:00Z".into());
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Expired(_)));
    rig.publish(&rig.publisher, 4, |_| ());
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Older(_)), "5 proved itself");
    rig.publish(&rig.publisher, 7, |new| new.programs = vec![rig.publisher.named("riscv64", b"x")]);
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Architecture(_)));
    rig.publish(&rig.publisher, 7, |new| new.expires = FAR.into());
    assert_eq!(rig.newest().await.unwrap().version, 7);
    rig.publish(&rig.publisher, 6, |_| ());
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Older(_)), "7 was seen there");
    rig.manner(|manner| manner.newest = b"<html>".to_vec());
    assert!(matches!(rig.newest().await.unwrap_err(), UpdateError::Metadata(_)));
}

#[test]
fn a_folder_is_asked_over_tls_or_on_this_computer() {
    for good in ["https://a.example/x/", "http://127.0.0.1:8080/"] {
        assert!(address(good).is_ok(), "{good}");
    }
    for bad in
        ["http://a.example/x/", "https://a.example/x", "https://a:b@a.example/", "ftp://a.example/", "x"]
    {
        assert!(address(bad).is_err(), "{bad}");
    }
}
