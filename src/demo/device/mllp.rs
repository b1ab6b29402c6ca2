//! Says HL7 v2 messages over MLLP and waits for the ACK that names them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Told;
use crate::hl7v2::{self, Charset, Message, Path};
use crate::wire::mllp;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_MAX: usize = 64 << 10;

pub(super) struct Speaker {
    address: SocketAddr,
    line: Option<TcpStream>,
}

impl Speaker {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, line: None }
    }

    pub(super) async fn say(&mut self, text: &str) -> io::Result<Told> {
        let message = text.trim_end().replace("\r\n", "\r").replace('\n', "\r") + "\r";
        let mut line = match self.line.take() {
            Some(line) => line,
            None => TcpStream::connect(self.address).await?,
        };
        line.set_nodelay(true)?;
        line.write_all(&mllp::wrap(message.as_bytes())).await?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, read_answer(&mut line)).await??;
        self.line = Some(line);
        Ok(judge(message.as_bytes(), &answer))
    }
}

async fn read_answer(line: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while !answer.ends_with(&[0x1c, 0x0d]) {
        if line.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the line was closed without an answer",
            ));
        }
        if answer.len() > ANSWER_MAX {
            return Err(io::Error::other("an answer of more than 64 KiB"));
        }
    }
    answer.truncate(answer.len() - 2);
    Ok(answer.strip_prefix(&[0x0b]).map(<[u8]>::to_vec).unwrap_or(answer))
}

/// Kept only when MSA-1 is AA or CA and MSA-2 names this very message.
pub(crate) fn judge(message: &[u8], answer: &[u8]) -> Told {
    let parsed = Message::parse(answer, Charset::default());
    let (Some(answer), Some(header)) = (parsed.message, hl7v2::header(message)) else {
        return Told::Again("the answer is not HL7".into());
    };
    let at = |path: &str| Path::parse(path).ok().map(|path| answer.get(&path).text().into_owned());
    match (at("MSA-1").as_deref(), at("MSA-2")) {
        (Some("AA" | "CA"), Some(id)) if id == *header.control_id => Told::Acknowledged,
        (Some("AA" | "CA"), _) => Told::Again("the answer names another message".into()),
        (code, _) => Told::Again(format!("refused with {}", code.unwrap_or("no code"))),
    }
}
