//! Proof by system calls: between the arrival of a message and its answer, a sync of the write-ahead log begins
//! and ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Makes a program in `dir` that runs `bedside` traced into `trace`. The tracer is the child, so that the process
/// started is the box itself.
pub(crate) fn traced(dir: &Path, bedside: &Path, calls: &str, trace: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = dir.join("traced");
    let text = format!(
        "#!/bin/sh\nexec strace -D -f -y -s 400 --seccomp-bpf -e trace={calls} -o '{}' '{}' \"$@\"\n",
        trace.display(),
        bedside.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Calls that read messages, write answers, and sync.
pub(crate) const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fsync,fdatasync";

/// Where in the trace things happened, by line.
#[derive(Default)]
struct Seen {
    arrived: HashMap<String, usize>,
    answered: HashMap<String, usize>,
    /// Begin and end of each successful sync of the log.
    syncs: Vec<(usize, usize)>,
}

/// Reads a trace; returns how many answers were preceded by a whole sync that followed their message, or the first
/// that was not.
pub(crate) fn check(trace: &str) -> Result<usize, String> {
    let seen = read(trace);
    for (id, answered) in &seen.answered {
        let arrived = seen.arrived.get(id).ok_or(format!("{id} was answered and never read"))?;
        if !seen.syncs.iter().any(|(from, to)| arrived < from && to < answered) {
            return Err(format!("{id} was answered without a sync after it arrived"));
        }
    }
    Ok(seen.answered.len())
}

/// Successful syncs of the log.
pub(crate) fn syncs(trace: &str) -> usize {
    read(trace).syncs.len()
}

/// The same trace as if the log had never been synced: what [`check`] must refuse.
pub(crate) fn without_syncs(trace: &str) -> String {
    trace.lines().filter(|line| !line.contains("sync")).collect::<Vec<_>>().join("\n")
}

fn read(trace: &str) -> Seen {
    let mut seen = Seen::default();
    // Thread → its call that has begun and not ended: at which line, and its words.
    let mut begun: HashMap<&str, (usize, String)> = HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, said)) = line.split_once(' ') else { continue };
        let said = said.trim_start();
        if let Some(first) = said.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, (at, first.into()));
            continue;
        }
        let (from, whole) = match said.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, rest)) => match begun.remove(thread) {
                Some((from, first)) => (from, first + rest),
                None => continue,
            },
            None => (at, said.to_owned()),
        };
        call(&mut seen, from, at, &whole);
    }
    seen
}

/// One finished call. A message counts as arrived when its read ended, an answer as given when its write began.
fn call(seen: &mut Seen, from: usize, to: usize, whole: &str) {
    let name = whole.split('(').next().unwrap_or_default();
    let socket = whole.contains("<TCP") || whole.contains("<socket:");
    match name {
        "fsync" | "fdatasync" if whole.contains("-wal>") && whole.ends_with("= 0") => {
            seen.syncs.push((from, to));
        }
        "read" | "readv" | "recvfrom" | "recvmsg" if socket => {
            if let Some(id) = after(whole, "ORU^R01^ORU_R01|") {
                seen.arrived.entry(id).or_insert(to);
            }
        }
        "write" | "writev" | "sendto" | "sendmsg" if socket => {
            if let Some(id) = after(whole, "MSA|AA|") {
                seen.answered.entry(id).or_insert(from);
            }
        }
        _ => {}
    }
}

fn after(whole: &str, mark: &str) -> Option<String> {
    let rest = whole.split_once(mark)?.1;
    Some(rest.chars().take_while(char::is_ascii_alphanumeric).collect())
}
