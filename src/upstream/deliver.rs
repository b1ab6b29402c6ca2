//! One round of delivery: entries become Bundles, answers become verdicts, and one bad entry never holds the others.

use std::collections::{HashMap, HashSet};

use reqwest::Method;
use serde_json::json;

use super::answer::{self, Alone, Part, Whole};
use super::bundle::{self, Digest, in_passing, key, lasting};
use super::capability::Mode;
use super::config::Patients;
use super::http::{Answer, Body};
use super::known::lock;
use super::limit::Size;
use super::piece::{self, Piece, Span, entry_of};
use super::{Setback, Upstream, Verdict};
use crate::fhir::{self, Placement, Resource, Transaction};

mod blocked;
mod first;

use blocked::Blocked;
pub(super) use blocked::Tries;

/// Places named in the answer of an accepted entry.
const MOST_PLACES: usize = 20;

/// Entries on their way, and what is known of them so far.
pub(super) struct Round<'a> {
    up: &'a Upstream,
    entries: &'a [Vec<Resource>],
    /// Per entry and resource: the digest of what stays (devices, patients), None for what was measured.
    digests: Vec<Vec<Option<Digest>>>,
    verdicts: Vec<Option<Verdict>>,
    /// The server took something in this round.
    passed: bool,
    /// Single entries whose answer may mean them or everybody.
    blocked: Vec<Blocked>,
}

/// The Bundle of a piece.
struct Load<'a> {
    transaction: Transaction<'a>,
    /// What is in it, in the order of the answer.
    lines: Vec<&'a Resource>,
    /// Key → position in `lines`.
    position: HashMap<String, usize>,
    /// Key → digest of what stays.
    digests: HashMap<String, Digest>,
    /// Keys left out because the server holds them.
    omitted: Vec<String>,
}

impl<'a> Round<'a> {
    pub(super) fn new(up: &'a Upstream, entries: &'a [Vec<Resource>]) -> Self {
        let digest = |resource: &Resource| lasting(resource).then(|| bundle::digest(resource));
        Self {
            up,
            entries,
            digests: entries.iter().map(|entry| entry.iter().map(digest).collect()).collect(),
            verdicts: vec![None; entries.len()],
            passed: false,
            blocked: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> Vec<Verdict> {
        for (entry, _) in self.entries.iter().enumerate().filter(|(_, resources)| resources.is_empty()) {
            self.settle(entry, Verdict::Accepted { answer: json!({ "resources": [] }).to_string() });
        }
        let mut ahead = piece::cut(self.entries, self.up.limit.now().resources);
        ahead.reverse();
        while let Some(mut piece) = ahead.pop() {
            self.put_behind(&mut piece);
            let stopped = match self.step(piece.clone(), &mut ahead).await {
                Ok(()) => self.shut_out(),
                Err(setback) => Some(setback),
            };
            if let Some(setback) = stopped {
                self.up.failed(&setback);
                ahead.push(piece);
                for span in ahead.drain(..).flat_map(|piece| piece.spans) {
                    self.settle_retry(span.entry, &setback);
                }
            }
        }
        self.unblock();
        let untold = || Verdict::Retry { after: None, reason: "not sent".into() };
        self.verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(untold)).collect()
    }

    /// Sends one piece; what has to be sent again or in smaller parts is pushed on `ahead`.
    async fn step(&mut self, mut piece: Piece, ahead: &mut Vec<Piece>) -> Result<(), Setback> {
        let mode = self.up.mode(self.trial()).await?;
        self.meet_patients(&mut piece, mode).await?;
        if piece.spans.is_empty() {
            return Ok(());
        }
        if mode != Mode::Put {
            self.clear_doubts(&piece).await?;
        }
        if self.up.batches() && !self.lasting_first(&mut piece, mode).await? {
            return Ok(());
        }
        let mut load = self.load(&piece, mode);
        let keys = load.position.keys().cloned().collect();
        let (_flight, waited) = self.up.in_flight.take(keys).await;
        if waited {
            load = self.load(&piece, mode); // another task may have delivered a part of it meanwhile
        }
        if load.lines.is_empty() {
            self.accept(&piece, &load, &[]);
            return Ok(());
        }
        let json = self.up.bundle(&load.transaction);
        let size = Size { resources: load.lines.len(), bytes: json.len() };
        if size.bytes > self.up.limit.now().bytes && size.resources > 1 {
            self.halve(&piece, "larger than this server takes", ahead);
            return Ok(());
        }
        self.doubt(&load, mode, true);
        let answer = self.up.transact(json, mode).await.inspect_err(|setback| {
            if setback.in_doubt {
                self.up.limit.too_slow(size);
            } else {
                self.doubt(&load, mode, false);
            }
        })?;
        let whole = answer::judge(&answer);
        if !matches!(whole, Whole::Unclear(_)) && answer.status < 500 {
            self.doubt(&load, mode, false);
        }
        match whole {
            Whole::Parts(parts) => self.parts(&piece, &load, parts, mode, ahead).await,
            Whole::Unclear(words) => self.look(&piece, &load, &[], &words, mode).await,
            Whole::TooLarge(words) => {
                self.up.limit.too_much(size);
                self.halve(&piece, &words, ahead);
                Ok(())
            }
            Whole::Divide { alone, words } => {
                let setback = Setback {
                    words,
                    after: answer.retry_after,
                    refusing: answer.status < 409,
                    in_doubt: false,
                };
                self.divide(piece, &load, alone, setback, &answer, mode, ahead).await
            }
            Whole::Later { words, after, refusing } => {
                Err(Setback { words, after, refusing, in_doubt: false })
            }
        }
    }

    /// A device is the best resource to try a server with: it refers to nothing.
    fn trial(&self) -> Option<&'a Resource> {
        let all = || self.entries.iter().flatten();
        all().find(|resource| resource.kind == "Device").or_else(|| all().next())
    }

    /// In put mode, patients are looked up before they are written: results belong on the patient the server has.
    async fn meet_patients(&mut self, piece: &mut Piece, mode: Mode) -> Result<(), Setback> {
        if mode != Mode::Put {
            return Ok(());
        }
        let entries = self.entries;
        let matches = self.up.config.patients != Patients::Own;
        let mut unclear = HashMap::new();
        for span in &piece.spans {
            for resource in entry_of(entries, span) {
                let matched = matches && resource.kind == "Patient";
                if !(matched || in_passing(resource)) || self.up.known.matched(&key(resource)) {
                    continue;
                }
                if !matched {
                    self.up.look_by_id(resource).await?;
                } else if let Err(words) = self.up.locate(resource).await? {
                    unclear.insert(span.entry, words);
                }
            }
        }
        for (entry, words) in &unclear {
            self.refuse(*entry, words, None);
        }
        piece.spans.retain(|span| !unclear.contains_key(&span.entry));
        Ok(())
    }

    /// Conditional mode: what may have been written by a request whose answer was lost is looked up first.
    async fn clear_doubts(&self, piece: &Piece) -> Result<(), Setback> {
        for span in &piece.spans {
            for resource in entry_of(self.entries, span).get(span.from..span.to).unwrap_or_default() {
                let known = self.up.known.matched(&key(resource));
                let doubtful = lock(&self.up.doubtful).get(&key(resource)).is_some()
                    || (self.up.looks_first() && !known);
                if doubtful {
                    let _unknowable = self.up.locate(resource).await?; // several copies: the write will say so
                }
            }
        }
        Ok(())
    }

    fn doubt(&self, load: &Load<'_>, mode: Mode, in_doubt: bool) {
        if mode == Mode::Put {
            return; // the same id makes a second write harmless
        }
        let mut doubtful = lock(&self.up.doubtful);
        for key in load.position.keys() {
            if in_doubt {
                doubtful.insert(key, ());
            } else {
                doubtful.remove(key);
            }
        }
    }

    /// Chooses what goes into the Bundle and how. One key goes once; of two versions the later one.
    fn load(&self, piece: &Piece, mode: Mode) -> Load<'a> {
        let mut transaction = Transaction::new(match mode {
            Mode::Put => fhir::Mode::Put { base: self.up.base.to_string() },
            Mode::Conditional { .. } => fhir::Mode::Conditional,
        });
        let (mut digests, mut omitted) = (HashMap::new(), Vec::new());
        for span in &piece.spans {
            let of_entry = self.digests.get(span.entry).map(Vec::as_slice).unwrap_or_default();
            let chosen = entry_of(self.entries, span).iter().zip(of_entry).take(span.to).skip(span.from);
            for (resource, digest) in chosen {
                let own = key(resource);
                if in_passing(resource) && transaction.overwrites(resource) {
                    continue;
                }
                match self.placement(resource, &own, digest.as_ref(), piece.whole, mode) {
                    Some(placement) => {
                        transaction.place(resource, placement);
                        digest.map(|digest| digests.insert(own, digest));
                    }
                    None if omitted.contains(&own) => {}
                    None => omitted.push(own),
                }
            }
        }
        let lines = transaction.entries();
        let position: HashMap<String, usize> =
            lines.iter().enumerate().map(|(at, line)| (key(line), at)).collect();
        for resource in piece.spans.iter().flat_map(|span| entry_of(self.entries, span)) {
            let own = key(resource);
            if position.contains_key(&own) {
                continue;
            }
            if let Some(at) = self.up.known.at(&own) {
                transaction.refer(own, at);
            } else if mode != Mode::Put {
                transaction.refer(own, format!("{}?{}", resource.kind, bundle::identifier_query(resource)));
            }
        }
        Load { transaction, lines, position, digests, omitted }
    }

    /// None: the server holds it already.
    fn placement(
        &self,
        resource: &Resource,
        own: &str,
        digest: Option<&Digest>,
        whole: bool,
        mode: Mode,
    ) -> Option<Placement> {
        if resource.kind == "Provenance" && mode != Mode::Put {
            // It has no identifier to be found by: sent twice it would be there twice. The box's own trail has it.
            return None;
        }
        let known = &self.up.known;
        if mode == Mode::Put && in_passing(resource) && known.is_there(own) {
            return None;
        }
        let held = digest.is_some_and(|digest| known.holds(own, digest));
        if held && (!whole || known.is_theirs(own)) {
            return None;
        }
        // A patient the server knows is never written over by what a device says of it.
        let settled = mode == Mode::Put || resource.kind == "Patient";
        Some(match (known.at(own).filter(|_| !settled), mode) {
            (Some(at), _) => Placement::At(at),
            (None, Mode::Conditional { update: true }) if !settled => Placement::Match,
            _ => Placement::Usual,
        })
    }

    /// Each part of the answer by its own status.
    async fn parts(
        &mut self,
        piece: &Piece,
        load: &Load<'a>,
        parts: Vec<Part>,
        mode: Mode,
        ahead: &mut Vec<Piece>,
    ) -> Result<(), Setback> {
        self.note_accepted(load, &parts);
        let unclear = |part: Option<&Part>| part.is_none_or(|part| part.status == 0);
        if (0..load.lines.len()).any(|at| unclear(parts.get(at))) {
            let words = format!("the answer told of {} of {} resources", parts.len(), load.lines.len());
            return self.look(piece, load, &parts, &words, mode).await;
        }
        let mut again = Piece { whole: true, repaired: true, ..Piece::default() };
        let mut fine = Piece::default();
        for span in &piece.spans {
            let failed: Vec<(&Resource, &Part)> =
                self.parts_of(span, load, &parts).filter(|(_, part)| !part.passed()).collect();
            let copies = mode != Mode::Put && failed.iter().any(|(_, part)| part.status == 412);
            let missing = !load.omitted.is_empty() && failed.iter().any(|(_, part)| !part.retry());
            match failed.first() {
                None => fine.spans.push(*span),
                Some(_) if !piece.repaired && (copies || missing) => again.spans.push(*span),
                Some(_) => self.blame(span.entry, &failed),
            }
        }
        self.accept(&fine, load, &parts);
        if !again.spans.is_empty() {
            self.repair(&mut again, load, mode).await?;
            ahead.push(again);
        }
        Ok(())
    }

    /// Before another try with everything: forgets what the server was thought to hold, looks up copies.
    async fn repair(&mut self, piece: &mut Piece, load: &Load<'_>, mode: Mode) -> Result<(), Setback> {
        load.omitted
            .iter()
            .filter(|own| !self.up.known.is_theirs(own))
            .for_each(|own| self.up.known.forget(own));
        let mut ambiguous = HashSet::new();
        for span in piece.spans.iter().filter(|_| mode != Mode::Put) {
            for resource in entry_of(self.entries, span).get(span.from..span.to).unwrap_or_default() {
                if let Err(words) = self.up.locate(resource).await? {
                    self.refuse(span.entry, &words, None);
                    ambiguous.insert(span.entry);
                }
            }
        }
        piece.spans.retain(|span| !ambiguous.contains(&span.entry));
        Ok(())
    }

    /// The verdict of an entry some of whose resources did not pass: held if any was refused, else retried.
    fn blame(&mut self, entry: usize, failed: &[(&Resource, &Part)]) {
        let refused = failed.iter().find(|(_, part)| !part.retry());
        match (refused, failed.first()) {
            (Some((resource, part)), _) => self.refuse(entry, &part.text(), Some((resource, part))),
            (None, Some((_, part))) => {
                let setback = Setback { words: part.text(), after: None, refusing: false, in_doubt: false };
                match part.status {
                    409 | 423 | 424 | 500 => self.block(entry, Alone::Retry, setback),
                    _ => self.settle_retry(entry, &setback),
                }
            }
            (None, None) => {}
        }
    }

    /// The answer told nothing, or not enough: asks what the server holds.
    async fn look(
        &mut self,
        piece: &Piece,
        load: &Load<'a>,
        parts: &[Part],
        words: &str,
        mode: Mode,
    ) -> Result<(), Setback> {
        let passed = |at: usize| parts.get(at).is_some_and(Part::passed);
        let open: Vec<&Resource> =
            load.lines.iter().enumerate().filter(|(at, _)| !passed(*at)).map(|(_, line)| *line).collect();
        let mut held: HashSet<String> = load.omitted.iter().cloned().collect();
        held.extend(load.lines.iter().enumerate().filter(|(at, _)| passed(*at)).map(|(_, line)| key(line)));
        if mode == Mode::Put {
            for kind in open.iter().map(|resource| resource.kind).collect::<HashSet<_>>() {
                let of_kind: Vec<&Resource> =
                    open.iter().copied().filter(|resource| resource.kind == kind).collect();
                held.extend(self.up.present(&of_kind).await?);
            }
        } else {
            for resource in open {
                if matches!(self.up.find(resource).await?, super::search::Found::One(_)) {
                    held.insert(key(resource));
                }
            }
        }
        let mut fine = Piece::default();
        for span in &piece.spans {
            let all = entry_of(self.entries, span).get(span.from..span.to).unwrap_or_default();
            if all.iter().all(|resource| held.contains(&key(resource))) {
                fine.spans.push(*span);
            } else {
                self.settle(span.entry, Verdict::Retry { after: None, reason: words.to_owned() });
            }
        }
        self.accept(&fine, load, parts);
        if fine.spans.is_empty() {
            return Err(Setback { words: words.to_owned(), after: None, refusing: false, in_doubt: false });
        }
        Ok(())
    }

    /// The Bundle as a whole was refused, perhaps for one entry.
    #[allow(clippy::too_many_arguments, reason = "all of it is one answer and what it answers")]
    async fn divide(
        &mut self,
        piece: Piece,
        load: &Load<'a>,
        alone: Alone,
        setback: Setback,
        answer: &Answer,
        mode: Mode,
        ahead: &mut Vec<Piece>,
    ) -> Result<(), Setback> {
        let about_content = matches!(answer.status, 400 | 404 | 405 | 409 | 410 | 412 | 422);
        if let Some(first) = self.trial().filter(|_| about_content && mode == Mode::Put)
            && self.up.doubt_put(first).await?
        {
            ahead.push(piece);
            return Ok(());
        }
        if about_content && !load.omitted.is_empty() && !piece.whole {
            self.repair(&mut Piece::default(), load, mode).await?;
            ahead.push(Piece { whole: true, ..piece });
            return Ok(());
        }
        let [span] = piece.spans.as_slice() else {
            ahead.extend(piece.halves().into_iter().flatten().rev());
            return Ok(());
        };
        if mode != Mode::Put && answer.status == 412 && !piece.repaired {
            let mut again = Piece { repaired: true, whole: true, spans: vec![*span] };
            self.repair(&mut again, load, mode).await?;
            ahead.push(again);
            return Ok(());
        }
        match alone {
            Alone::Held => self.refuse(span.entry, &setback.words, None),
            alone => self.block(span.entry, alone, setback),
        }
        Ok(())
    }

    /// Less at once: half of the spans, or half of the only span. One resource alone is too large: held.
    fn halve(&mut self, piece: &Piece, words: &str, ahead: &mut Vec<Piece>) {
        match piece.halves() {
            Some(halves) => ahead.extend(halves.into_iter().rev()),
            None => piece.spans.iter().for_each(|span| {
                self.refuse(
                    span.entry,
                    &format!("one resource alone is too large for the server: {words}"),
                    None,
                );
            }),
        }
    }

    fn note_accepted(&mut self, load: &Load<'_>, parts: &[Part]) {
        for (line, part) in load.lines.iter().zip(parts).filter(|(_, part)| part.passed()) {
            self.passed = true;
            let own = key(line);
            if let Some(digest) = load.digests.get(&own) {
                self.up.known.accepted(&own, *digest, part.at.clone());
            }
        }
    }

    /// Every resource of these spans is on the server.
    fn accept(&mut self, piece: &Piece, load: &Load<'_>, parts: &[Part]) {
        for span in &piece.spans {
            let told = self.parts_of(span, load, parts).take(MOST_PLACES);
            let places: Vec<_> = told
                .map(|(resource, part)| json!({ "status": part.status, "at": part.at.clone().unwrap_or_else(|| key(resource)) }))
                .collect();
            self.settle(span.entry, Verdict::Accepted { answer: json!({ "resources": places }).to_string() });
        }
        if !piece.spans.is_empty() && !load.lines.is_empty() {
            self.passed = true;
            self.up.limit.passed();
            self.up.capability.proven();
            self.up.succeeded();
        }
    }

    /// The resources of a span that were in the Bundle, each with what became of it.
    fn parts_of<'s>(
        &self,
        span: &Span,
        load: &'s Load<'_>,
        parts: &'s [Part],
    ) -> impl Iterator<Item = (&'a Resource, &'s Part)> + use<'a, 's> {
        let resources = entry_of(self.entries, span).get(span.from..span.to).unwrap_or_default();
        resources.iter().filter_map(|resource| {
            let at = load.position.get(&key(resource))?;
            Some((resource, parts.get(*at)?))
        })
    }

    fn refuse(&mut self, entry: usize, words: &str, about: Option<(&Resource, &Part)>) {
        let mut answer = json!({ "text": words });
        if let (Some((resource, part)), Some(fields)) = (about, answer.as_object_mut()) {
            fields.insert("resource".into(), key(resource).into());
            fields.insert("status".into(), part.status.into());
        }
        self.settle(entry, Verdict::Refused { reason: words.to_owned(), answer: answer.to_string() });
    }

    fn settle_retry(&mut self, entry: usize, setback: &Setback) {
        let Setback { words, after, .. } = setback;
        self.settle(entry, Verdict::Retry { after: *after, reason: words.clone() });
    }

    /// An entry sent in parts is as good as its worst part.
    fn settle(&mut self, entry: usize, verdict: Verdict) {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Accepted { .. } => 0,
            Verdict::Retry { .. } => 1,
            Verdict::Refused { .. } => 2,
        };
        if let Some(held) = self.verdicts.get_mut(entry)
            && held.as_ref().is_none_or(|held| rank(held) < rank(&verdict))
        {
            *held = Some(verdict);
        }
    }
}

impl Upstream {
    fn bundle(&self, transaction: &Transaction<'_>) -> String {
        if self.batches() { transaction.json_as_batch() } else { transaction.json() }
    }

    /// Posts a Bundle. Conditional mode sends one at a time: two could both find nothing and create twice.
    async fn transact(&self, json: String, mode: Mode) -> Result<Answer, Setback> {
        let permits = if mode == Mode::Put { 1 } else { self.config.in_flight };
        let permit = self.permits.acquire_many(u32::try_from(permits).unwrap_or(1)).await;
        let closed = |_| Setback { words: "stopping".into(), after: None, refusing: false, in_doubt: false };
        let _permit = permit.map_err(closed)?;
        let plain = bytes::Bytes::from(json);
        let (body, packed) = self.packed(&plain).await;
        let answer = self.ask(Method::POST, self.url(""), || Body::Fhir(body.clone(), packed)).await?;
        if !packed || !matches!(answer.status, 400 | 415) {
            return Ok(answer);
        }
        let again = self.ask(Method::POST, self.url(""), || Body::Fhir(plain.clone(), false)).await?;
        if !matches!(again.status, 400 | 415) {
            self.capability.gzip_refused();
        }
        Ok(again)
    }
}
