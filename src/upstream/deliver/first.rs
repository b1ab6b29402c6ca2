//! Servers that only take batches: what is referred to goes first, in a Bundle of its own, and what refers to it when it is
//! there.

use std::collections::{HashMap, HashSet};

use super::{Load, Mode, Piece, Round, Setback, answer, entry_of, fhir, key, lasting};
use super::{Part, Resource, Transaction, Whole};

impl<'a> Round<'a> {
    /// Sends the devices and patients of a piece that the server is not known to hold. False: nothing of the piece is left.
    pub(super) async fn lasting_first(&mut self, piece: &mut Piece, mode: Mode) -> Result<bool, Setback> {
        let load = self.lasting_of(piece, mode);
        if load.lines.is_empty() {
            return Ok(true);
        }
        let keys = load.position.keys().cloned().collect();
        let (flight, _) = self.up.in_flight.take(keys).await;
        let answer = self.up.transact(self.up.bundle(&load.transaction), mode).await?;
        let parts = match answer::judge(&answer) {
            Whole::Parts(parts) if parts.len() >= load.lines.len() => parts,
            Whole::Later { words, after, refusing } => {
                return Err(Setback { words, after, refusing, in_doubt: false });
            }
            Whole::Parts(_) | Whole::Unclear(_) | Whole::TooLarge(_) | Whole::Divide { .. } => {
                // They are sent once more with what refers to them, and the answer to that is looked into.
                return Ok(true);
            }
        };
        self.note_accepted(&load, &parts);
        drop(flight);
        let failed: HashMap<&str, (&Resource, &Part)> = load
            .lines
            .iter()
            .zip(&parts)
            .filter(|(_, part)| !part.passed())
            .map(|(line, part)| (line.id.as_str(), (*line, part)))
            .collect();
        let mut out = HashSet::new();
        for span in &piece.spans {
            let needed: Vec<(&Resource, &Part)> = entry_of(self.entries, span)
                .iter()
                .filter_map(|one| failed.get(one.id.as_str()).copied())
                .collect();
            if !needed.is_empty() {
                self.blame(span.entry, &needed);
                out.insert(span.entry);
            }
        }
        piece.spans.retain(|span| !out.contains(&span.entry));
        if mode != Mode::Put {
            for line in load.lines.iter().filter(|line| self.up.known.at(&key(line)).is_none()) {
                let _unknowable = self.up.locate(line).await?;
            }
        }
        Ok(!piece.spans.is_empty())
    }

    fn lasting_of(&self, piece: &Piece, mode: Mode) -> Load<'a> {
        let mut transaction = Transaction::new(match mode {
            Mode::Put => fhir::Mode::Put { base: self.up.base.to_string() },
            Mode::Conditional { .. } => fhir::Mode::Conditional,
        });
        let mut digests = HashMap::new();
        for span in &piece.spans {
            let of_entry = self.digests.get(span.entry).map(Vec::as_slice).unwrap_or_default();
            for (resource, digest) in entry_of(self.entries, span).iter().zip(of_entry) {
                let Some(digest) = digest.as_ref().filter(|_| lasting(resource)) else { continue };
                let own = key(resource);
                if let Some(placement) = self.placement(resource, &own, Some(digest), false, mode) {
                    transaction.place(resource, placement);
                    digests.insert(own, *digest);
                }
            }
        }
        let lines = transaction.entries();
        let position = lines.iter().enumerate().map(|(at, line)| (key(line), at)).collect();
        for resource in piece.spans.iter().flat_map(|span| entry_of(self.entries, span)) {
            if let Some(at) = self.up.known.at(&key(resource)) {
                transaction.refer(key(resource), at);
            }
        }
        Load { transaction, lines, position, digests, omitted: Vec::new() }
    }
}
