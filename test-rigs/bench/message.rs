//! What the bench sends, and the closed loop that sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As many monitors as there are connections at most.
const MONITORS: u64 = 64;

/// Code, place, value, unit and range of the ten OBX of a message.
pub(crate) const ROWS: [(&str, &str, &str, &str, &str); 10] = [
    ("147842^MDC_ECG_HEART_RATE^MDC", "1.1.1.1", "72", "264864^MDC_DIM_BEAT_PER_MIN^MDC", "50-120"),
    ("150456^MDC_PULS_OXIM_SAT_O2^MDC", "1.2.1.1", "97", "262688^MDC_DIM_PERCENT^MDC", "90-100"),
    ("149530^MDC_PULS_OXIM_PULS_RATE^MDC", "1.2.1.2", "71", "264864^MDC_DIM_BEAT_PER_MIN^MDC", "50-120"),
    ("151562^MDC_RESP_RATE^MDC", "1.3.1.1", "16", "264928^MDC_DIM_RESP_PER_MIN^MDC", "8-30"),
    ("150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "1.4.1.1", "121", "266016^MDC_DIM_MMHG^MDC", "90-160"),
    ("150022^MDC_PRESS_BLD_NONINV_DIA^MDC", "1.4.1.2", "79", "266016^MDC_DIM_MMHG^MDC", "50-90"),
    ("150023^MDC_PRESS_BLD_NONINV_MEAN^MDC", "1.4.1.3", "93", "266016^MDC_DIM_MMHG^MDC", "60-110"),
    ("150364^MDC_TEMP_RECT^MDC", "1.5.1.1", "36.8", "268192^MDC_DIM_DEGC^MDC", "36.0-38.5"),
    ("151708^MDC_CONC_AWAY_CO2_ET^MDC", "1.6.1.1", "38", "266016^MDC_DIM_MMHG^MDC", "25-50"),
    ("150344^MDC_TEMP^MDC", "1.5.2.1", "36.6", "268192^MDC_DIM_DEGC^MDC", "36.0-38.5"),
];

/// MSH-10 of a message.
pub(crate) fn control_id(number: u64) -> String {
    format!("B{number:012}")
}

/// A PCD-01 ORU^R01 of about 1.8 kB with 10 OBX in its MLLP frame; no two numbers give the same bytes, and a
/// monitor's messages are some milliseconds apart.
pub(crate) fn message(number: u64) -> Vec<u8> {
    let monitor = number % MONITORS;
    let tick = number / MONITORS;
    let (hour, minute, second, milli) =
        (tick / 1_800_000 % 24, tick / 30_000 % 60, tick / 500 % 60, tick % 500 * 2);
    let time = format!("20260912{hour:02}{minute:02}{second:02}.{milli:03}+0000");
    let eui = format!("00123456{monitor:08X}");
    let mut text = format!(
        "MSH|^~\\&|VITALS^{eui}^EUI-64|WARD3|BEDSIDE|CLINIC|{time}||ORU^R01^ORU_R01|{}|P|2.6|||NE|AL||UNICODE UTF-8|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||BENCH-{monitor:04}^^^CLINIC^MR||Bench^Anna^^^^^L||19700101|F\r\
         PV1||I|WARD3^R1^B{monitor:02}\r\
         OBR|1|{number}^VITALS^{eui}^EUI-64|{number}^VITALS^{eui}^EUI-64|182777000^monitoring of patient^SCT|||{time}\r",
        control_id(number),
    );
    for (row, (code, place, value, unit, range)) in ROWS.iter().enumerate() {
        text.push_str(&format!(
            "OBX|{}|NM|{code}|{place}|{value}|{unit}|{range}||||R|||{time}|||WARD3^DEVICE^{eui}||{eui}^^{eui}^EUI-64\r",
            row + 1
        ));
    }
    [b"\x0b", text.as_bytes(), b"\x1c\r"].concat()
}

/// What a closed loop measured.
pub(crate) struct Figures {
    pub(crate) answered: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Each connection sends, waits for the AA that names its own message, and sends the next, for `span`.
pub(crate) async fn load(port: u16, connections: usize, span: Duration, numbers: &Arc<AtomicU64>) -> Figures {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        tasks.push(tokio::spawn(one_sender(port, began + span, Arc::clone(numbers))));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    Figures::of(took, began.elapsed())
}

impl Figures {
    /// Of answers that took so long, within a time.
    pub(crate) fn of(mut took: Vec<Duration>, within: Duration) -> Self {
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        Self {
            answered: took.len() as u64,
            per_second: took.len() as f64 / within.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    }
}

async fn one_sender(port: u16, until: Instant, numbers: Arc<AtomicU64>) -> Vec<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut took, mut answer) = (Vec::new(), Vec::with_capacity(4096));
    while Instant::now() < until {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let framed = message(number);
        let sent = Instant::now();
        stream.write_all(&framed).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"\x1c\r") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
        }
        took.push(sent.elapsed());
        let named = format!("MSA|AA|{}", control_id(number));
        assert!(answer.windows(named.len()).any(|part| part == named.as_bytes()), "not AA for {number}");
    }
    took
}
