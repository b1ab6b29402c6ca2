//! Devices that believe nothing until it is acknowledged: two monitors over MLLP, an analyser over LIS01 on a
//! pseudo-terminal, a kit over MQTT with QoS 1, a point-of-care device over POCT1-A, a scale that is an agent of
//! IEEE 11073-20601. Each says the numbers 1, 2, 3 … and says a number again, with the same content, until the box has acknowledged it. A reader leaves files in a
//! folder and never looks back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bedside::demo::actor::{Message, Said, Speaker, Told, speaker};
use bedside::demo::pty::Pty;
use bedside::firmware_profile::Library;
use bedside::wire::astm::{AstmSender, Sending, Sent};
use bedside::wire::ieee11073::apdu::{self, Event};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

/// Longest wait for an answer of a box that has power; far above what a commit takes, for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Before something is said again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// Number `n` was measured `n` seconds after this: 2024-03-01T00:00:00Z.
pub(crate) const FIRST_SECOND: i64 = 1_709_251_200;

/// A sender: the patient its numbers are on, and the codes of what it measures. The first measurement of number `n`
/// is `n`, the second `n` and a half.
pub(crate) struct Sender {
    pub(crate) patient: &'static str,
    pub(crate) codes: [&'static str; 2],
    /// How it is connected, for the counts.
    pub(crate) way: &'static str,
}

const fn sender(way: &'static str, patient: &'static str, codes: [&'static str; 2]) -> Sender {
    Sender { patient, codes, way }
}

pub(crate) const SENDERS: [Sender; 8] = [
    sender("mllp 1", "RIG-MONITOR-1", ["8867-4", "9279-1"]),
    sender("mllp 2", "RIG-MONITOR-2", ["8867-4", "9279-1"]),
    sender("astm", "RIG-ANALYSER", ["6690-2", "777-3"]),
    sender("mqtt", "RIG-KIT", ["8310-5", "29463-7"]),
    sender("poct1a", "RIG-POCT", ["2345-7", "4548-4"]),
    sender("folder", "RIG-READER", ["1988-5", "4548-4"]),
    sender("ieee11073", "RIG-SCALE", ["29463-7", "39156-5"]),
    sender("broker", "RIG-BRIDGE", ["8310-5", "29463-7"]),
];

/// The places of some among the senders.
pub(crate) const ANALYSER: usize = 2;
pub(crate) const SCALE: usize = 6;
pub(crate) const BRIDGE: usize = 7;

/// When number `n` was measured.
pub(crate) fn taken(n: u64) -> Timestamp {
    Timestamp::from_second(FIRST_SECOND + n as i64).unwrap()
}

fn digits(n: u64) -> String {
    taken(n).strftime("%Y%m%d%H%M%S").to_string()
}

/// One device.
pub(crate) trait Device: Send {
    /// Says number `n`; true when the box acknowledged it.
    fn say(&mut self, n: u64) -> impl Future<Output = io::Result<bool>> + Send;
}

/// What the senders are told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    /// Nobody says a number above it.
    pub(crate) allowed: u64,
    /// Answers count for nothing: what the disk has not synced may be gone in a moment.
    pub(crate) deaf: bool,
    /// What was begun is said to its end, and nothing more.
    pub(crate) stop: bool,
}

/// Speaks until told to stop, then ends with the last number, acknowledged like all before it. `told` is that number
/// all along.
pub(crate) async fn speak(
    mut device: impl Device,
    pace: Duration,
    mut orders: watch::Receiver<Orders>,
    told: Arc<AtomicU64>,
) -> u64 {
    let mut n = 0;
    loop {
        let heard =
            orders.wait_for(|orders| orders.stop || orders.allowed > n).await.map(|orders| orders.stop);
        if heard.unwrap_or(true) {
            return n;
        }
        n += 1;
        // A saturated writer hides what a paced one shows; a device is paced anyway.
        tokio::time::sleep(pace).await;
        while !device.say(n).await.unwrap_or(false) || orders.borrow().deaf {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        told.store(n, Ordering::SeqCst);
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let line = TcpStream::connect(("127.0.0.1", port)).await?;
    line.set_nodelay(true)?;
    Ok(line)
}

/// IHE PCD-01 over MLLP.
pub(crate) struct Monitor {
    /// 1 or 2.
    pub(crate) number: u8,
    pub(crate) port: u16,
    pub(crate) line: Option<TcpStream>,
}

impl Monitor {
    pub(crate) fn message(own: u8, n: u64) -> String {
        let time = digits(n);
        format!(
            "MSH|^~\\&|RIG^00A037000000010{own}^EUI-64|WARD|||{time}+0000||ORU^R01^ORU_R01|P{n}|P|2.6|||AL|NE||UNICODE UTF-8\r\
             PID|||RIG-MONITOR-{own}^^^Rig&2.999.1&ISO^MR||Rig^Person^^^^^L\r\
             OBR|1||{n}^RIG|182777000^monitoring of patient^SCT|||{time}+0000\r\
             OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||00A03700000001A{own}^EUI-64\r\
             OBX|2|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.147842|{n}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r\
             OBX|3|NM|151562^MDC_RESP_RATE^MDC|1.1.2.151562|{n}.5|264928^MDC_DIM_RESP_PER_MIN^MDC|||||R\r"
        )
    }
}

impl Device for Monitor {
    async fn say(&mut self, n: u64) -> io::Result<bool> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => connect(self.port).await?,
        };
        line.write_all(format!("\x0b{}\x1c\r", Self::message(self.number, n)).as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(&[0x1c, 0x0d]) {
            if timeout(ANSWER_WITHIN, line.read_buf(&mut answer)).await?? == 0 {
                return Ok(false);
            }
        }
        self.line = Some(line);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let msa = answer.split('\r').find(|segment| segment.starts_with("MSA|")).unwrap_or_default();
        let fields: Vec<&str> = msa.split('|').collect();
        // In the enhanced mode that MSH-15 asks for, CA says that it is kept.
        Ok(matches!(fields.get(1), Some(&("AA" | "CA"))) && fields.get(2) == Some(&format!("P{n}").as_str()))
    }
}

/// LIS01 on a serial line. A real one would wait out its timers when the box dies; this one is told, to save the time.
pub(crate) struct Analyser {
    /// Held for the length of a session, so that whoever switches the box on finds the line at rest.
    pub(crate) line: Arc<Mutex<Pty>>,
    /// Whether the box has power.
    pub(crate) power: watch::Receiver<bool>,
    pub(crate) began: Instant,
}

impl Analyser {
    pub(crate) fn message(n: u64) -> String {
        let time = digits(n);
        format!(
            "H|\\^&|||RIG-CHEM^1.0^RIG-7|||||host||P|1|{time}\r\
             P|1||RIG-ANALYSER|Rig^Person\r\
             O|1|RIG-{n}||^^^WBC\\^^^PLT|R||{time}\r\
             R|1|^^^WBC|{n}|10*3/uL||N||F||||{time}\r\
             R|2|^^^PLT|{n}.5|10*3/uL||N||F||||{time}\r\
             L|1|N\r"
        )
    }
}

impl Device for Analyser {
    async fn say(&mut self, n: u64) -> io::Result<bool> {
        let down = |_| io::Error::other("the rig is over");
        self.power.wait_for(|on| *on).await.map_err(down)?;
        let line = self.line.lock().await;
        let message = Self::message(n);
        let mut sender = AstmSender::new(&[message.as_bytes()], &Sending::default(), self.began.elapsed());
        let mut answer = [0; 64];
        loop {
            while let Some(step) = sender.step() {
                match step {
                    Sent::Send(bytes) => line.write_all(&bytes).await?,
                    Sent::Done => return Ok(true),
                    Sent::Failed(_) => return Ok(false),
                }
            }
            tokio::select! {
                read = line.read(&mut answer) => sender.feed(&answer[..read?], self.began.elapsed()),
                () = tokio::time::sleep(Duration::from_millis(200)) => sender.tick(self.began.elapsed()),
                _ = self.power.wait_for(|on| !on) => break,
            }
        }
        // What the box said with its last breath was said.
        while let Ok(read) = timeout(Duration::from_millis(5), line.read(&mut answer)).await {
            sender.feed(&answer[..read?], self.began.elapsed());
        }
        Ok(std::iter::from_fn(|| sender.step()).any(|step| step == Sent::Done))
    }
}

/// MQTT 3.1.1 by hand, with a session that is kept: CONNECT, PUBLISH with QoS 1, PUBACK.
pub(crate) struct Kit {
    /// On whom its numbers are.
    pub(crate) patient: &'static str,
    /// Of the box's own broker, or of one that the box reads.
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) line: Option<TcpStream>,
    /// The number that was sent and not acknowledged: its repetition carries DUP.
    pub(crate) unanswered: Option<u64>,
    /// How often the broker knew the session, and how often not.
    pub(crate) sessions: watch::Sender<(u32, u32)>,
}

impl Kit {
    pub(crate) const fn new(
        patient: &'static str,
        port: u16,
        password: String,
        sessions: watch::Sender<(u32, u32)>,
    ) -> Self {
        Self { patient, port, password, line: None, unanswered: None, sessions }
    }

    pub(crate) fn message(patient: &str, n: u64) -> String {
        let second = taken(n).as_second();
        let own = patient.len() % 10;
        format!(
            r#"{{"from":"BLE","to":"CLOUD","time":{second},"mac":"08:F9:E0:00:11:2{own}","type":"reportAttribute","citiz":"{patient}","data":{{"attribute":"KIT","mac":"08:F9:E0:00:11:2{own}","value":{{"device_list":[{{"scan_time":{second},"ble_addr":"c1248800000{own}","temp":{n},"weight":{n}.5}}]}}}}}}"#
        )
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut line = connect(self.port).await?;
        // MQTT 3.1.1 §3.1: user name and password, the session kept (clean session off), keep-alive 60 s.
        let mut body = b"\x00\x04MQTT\x04\xc0\x00\x3c".to_vec();
        for text in ["rig-kit", "kit", &self.password] {
            body.extend_from_slice(&(text.len() as u16).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        line.write_all(&packet(0x10, &body)).await?;
        let mut connack = [0; 4];
        timeout(ANSWER_WITHIN, line.read_exact(&mut connack)).await??;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "the broker refused the connection");
        self.sessions.send_modify(|(known, new)| if connack[2] == 1 { *known += 1 } else { *new += 1 });
        Ok(line)
    }
}

impl Device for Kit {
    async fn say(&mut self, n: u64) -> io::Result<bool> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.connect().await?,
        };
        let topic = "kits/rig";
        let id = (n % 65_000 + 1) as u16;
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(&id.to_be_bytes());
        body.extend_from_slice(Self::message(self.patient, n).as_bytes());
        // MQTT 3.1.1 §3.3.1: QoS 1 is 0x02, DUP is 0x08.
        let first = if self.unanswered == Some(n) { 0x3a } else { 0x32 };
        self.unanswered = Some(n);
        line.write_all(&packet(first, &body)).await?;
        let mut puback = [0; 4];
        timeout(ANSWER_WITHIN, line.read_exact(&mut puback)).await??;
        self.line = Some(line);
        let [high, low] = id.to_be_bytes();
        Ok(puback == [0x40, 2, high, low])
    }
}

/// The simulated device of a profile on a TCP connection it opens.
pub(crate) struct Actor {
    port: u16,
    speaker: Box<dyn Speaker>,
    /// What number `n` is in its protocol.
    message: fn(u64) -> Vec<u8>,
    line: Option<TcpStream>,
    began: Instant,
}

impl Actor {
    pub(crate) fn new(profile: &str, port: u16, message: fn(u64) -> Vec<u8>) -> Self {
        let library = Library::embedded().unwrap();
        let speaker = speaker(&library.find(profile).unwrap(), &[]).unwrap();
        Self { port, speaker, message, line: None, began: Instant::now() }
    }

    /// Says what is due; what became of the message, when it is known.
    async fn speak(&mut self, line: &mut TcpStream) -> io::Result<Option<Told>> {
        let mut told = None;
        while let Some(said) = self.speaker.next() {
            match said {
                Said::Send(bytes) => line.write_all(&bytes).await?,
                Said::Told(one) => told = Some(one),
            }
        }
        Ok(told)
    }
}

impl Device for Actor {
    async fn say(&mut self, n: u64) -> io::Result<bool> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let mut line = connect(self.port).await?;
                self.speaker.open(self.began.elapsed());
                self.speak(&mut line).await?;
                line
            }
        };
        let message = Message::of((self.message)(n));
        self.speaker.say(&message, self.began.elapsed());
        let mut heard = [0; 4096];
        loop {
            // What was heard before the line was lost was heard.
            if let Some(told) = self.speak(&mut line).await? {
                self.line = Some(line);
                return Ok(told == Told::Acknowledged);
            }
            match timeout(Duration::from_millis(50), line.read(&mut heard)).await {
                Ok(Ok(0)) => return Ok(false),
                Ok(read) => self.speaker.hear(&heard[..read?], self.began.elapsed()),
                Err(_) => self.speaker.tick(self.began.elapsed()),
            }
        }
    }
}

/// One observation with two results, as POCT1-A has it.
pub(crate) fn observation(n: u64) -> Vec<u8> {
    let time = taken(n).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let item = |code: &str, value: &str, unit: &str| {
        format!(
            "<OBS><OBS.observation_id V=\"{code}\" SN=\"LN\"/><OBS.value V=\"{value}\" U=\"{unit}\"/>\
             <OBS.method_cd V=\"M\"/><OBS.status_cd V=\"A\"/></OBS>"
        )
    };
    format!(
        "<SVC><SVC.role_cd V=\"OBS\"/><SVC.observation_dttm V=\"{time}\"/><PT><PT.patient_id V=\"RIG-POCT\"/>{}{}</PT></SVC>",
        item("2345-7", &n.to_string(), "mg/dL"),
        item("4548-4", &format!("{n}.5"), "%"),
    )
    .into_bytes()
}

/// A scale's association, its configuration, its attributes and one confirmed report (ISO/IEEE 11073-20601).
pub(crate) fn weighing(n: u64) -> Vec<u8> {
    const SYSTEM_ID: [u8; 8] = *b"\x02RIG-SCA";
    /// An extended configuration, which a box that was off must be told again.
    const CONFIGURATION: u16 = 0x4001;
    let be = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let list = |count: u16, bytes: &[u8]| [be(&[count]), apdu::counted(bytes)].concat();
    let event = |kind, information: &[u8]| {
        apdu::event_report(7, true, &Event { handle: 0, time: u32::MAX, kind, information })
    };
    // Type, unit, and what a report holds: a FLOAT (0A56) and an absolute time (0990).
    let numeric = |handle: u16, code: u16, unit: u16| {
        let attributes =
            [be(&[0x092F, 4, 2, code, 0x0996, 2, unit, 0x0A55, 12]), be(&[2, 8, 0x0A56, 4, 0x0990, 8])];
        [be(&[6, handle]), list(3, &attributes.concat())].concat()
    };
    // Body weight in kg; body mass index in kg/m2.
    let objects = [numeric(1, 0xE140, 0x06C3), numeric(2, 0xE150, 0x07A0)].concat();
    let configuration = event(apdu::NOTI_CONFIG, &[be(&[CONFIGURATION]), list(2, &objects)].concat());
    let model = [apdu::counted(b"Rig"), apdu::counted(b"Scale")].concat();
    let attributes = [be(&[0x0928]), apdu::counted(&model)].concat();
    let attributes = apdu::prst(1, apdu::GET_RESULT, &[be(&[0]), list(1, &attributes)].concat());
    let bcd: Vec<u8> =
        digits(n).as_bytes().chunks(2).map(|two| (two[0] - b'0') << 4 | (two[1] - b'0')).collect();
    // MDER FLOAT: eight bits of exponent and 24 of mantissa.
    let observation = |handle: u16, exponent: u32, mantissa: u64| {
        let float = exponent << 24 | u32::try_from(mantissa).unwrap();
        let octets = [&float.to_be_bytes()[..], &bcd, &[0]].concat();
        [be(&[handle]), apdu::counted(&octets)].concat()
    };
    let both = [observation(1, 0, n), observation(2, 0xFF, 10 * n + 5)].concat();
    let report = event(apdu::NOTI_SCAN_FIRST, &[be(&[0xF000, 0]), list(2, &both)].concat());
    [apdu::association_request(&SYSTEM_ID, CONFIGURATION), configuration, attributes, report].concat()
}

/// A reader that leaves each result as a file. Nobody answers it: what was left whole must arrive.
pub(crate) struct Reader {
    pub(crate) dir: PathBuf,
}

impl Device for Reader {
    async fn say(&mut self, n: u64) -> io::Result<bool> {
        let time = taken(n).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let row = |item: &str, value: &str, unit: &str| {
            format!("{n},S-{n},RIG-READER,,,{item},{value},{unit},,WB,{time}\n")
        };
        let text = format!(
            "No,Sample ID,Patient ID,Name,Gender,Item,Result,Unit,Reference,Sample Type,Test Time\n{}{}",
            row("CRP", &n.to_string(), "mg/L"),
            row("HbA1c", &format!("{n}.5"), "%"),
        );
        // A file that appears whole, and never twice: the device does not know what became of it.
        let half = self.dir.join(format!("{n:06}.part"));
        tokio::fs::write(&half, text).await?;
        tokio::fs::rename(&half, self.dir.join(format!("{n:06}.csv"))).await?;
        Ok(true)
    }
}

/// A control packet: its first byte, the remaining length (MQTT 3.1.1 §2.2.3), its body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 127;
        packet.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
