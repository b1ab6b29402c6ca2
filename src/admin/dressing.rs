//! The headers every answer has, on the few answers that no route gives: hyper itself refuses what is no HTTP, before anybody
//! could look at it, in a few lines of its own.
//!
//! Every answer of ours carries `Strict-Transport-Security`. What is written to the connection and begins an answer without a
//! body and without that header is hyper's, and gets the others put in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::http::HeaderMap;

use super::guard;

/// Longest answer of hyper's own.
const OWN_MAX: usize = 512;

/// An HTTP/1.1 connection whose answers are all dressed.
pub(super) struct Dressed<S> {
    inner: S,
    /// A dressed answer that is not written yet.
    pending: Vec<u8>,
}

impl<S> Dressed<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, pending: Vec::new() }
    }
}

/// The dressed answer, when this is one of hyper's own.
fn dressed(written: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(written).ok().filter(|text| text.len() <= OWN_MAX)?;
    let head = text.strip_suffix("\r\n\r\n").filter(|head| head.starts_with("HTTP/1."))?;
    let lower = head.to_ascii_lowercase();
    if !lower.contains("\r\ncontent-length: 0") || lower.contains("\r\nstrict-transport-security:") {
        return None;
    }
    let mut headers = HeaderMap::new();
    guard::dress(&mut headers);
    let mut whole = head.to_owned();
    for (name, value) in &headers {
        whole.push_str(&format!("\r\n{name}: {}", value.to_str().unwrap_or_default()));
    }
    whole.push_str("\r\n\r\n");
    Some(whole.into_bytes())
}

impl<S: AsyncWrite + Unpin> Dressed<S> {
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Dressed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Dressed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(context))?;
        match dressed(bytes) {
            Some(answer) => {
                self.pending = answer;
                // Taken over; written now as far as it goes, and the rest before whatever follows.
                if let Poll::Ready(Err(fault)) = self.poll_pending(context) {
                    return Poll::Ready(Err(fault));
                }
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(&mut self.inner).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn an_answer_of_hypers_own_gets_the_headers_however_slowly_it_is_taken() {
        let (near, mut far) = tokio::io::duplex(7);
        let writing = tokio::spawn(async move {
            let mut near = Dressed::new(near);
            near.write_all(OWN).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        for name in ["strict-transport-security", "content-security-policy", "x-content-type-options"] {
            assert_eq!(text.matches(name).count(), 1, "{name}: {text}");
        }
    }

    #[test]
    fn everything_else_passes_as_it_is() {
        for bytes in [
            &b"HTTP/1.1 204 No Content\r\nstrict-transport-security: max-age=1\r\ncontent-length: 0\r\n\r\n"
                [..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            b"{\"text\":\"HTTP/1.1 400\"}",
            b"HTTP/1.1 400 as text of a body\r\n\r\n",
            b"",
            b"\xff\xfe",
        ] {
            assert_eq!(dressed(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
        assert!(dressed(OWN).is_some());
    }
}
