//! A TOML table read strictly: what is missing, unknown or of the wrong kind becomes a fault with its place,
//! and reading goes on so that a person sees all faults at once.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, did_you_mean};
use crate::device::Decimal;

/// More faults than this say nothing new.
const FAULTS_MAX: usize = 64;

/// The file being read and the faults found so far.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    faults: RefCell<Vec<Fault>>,
    /// What was asked for, so that the published schema can be held against it.
    #[cfg(test)]
    pub(super) heard: RefCell<Heard>,
}

/// The keys and words the parser asked for, by section.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) keys: std::collections::BTreeSet<(String, String)>,
    pub(super) words: std::collections::BTreeMap<(String, String), Vec<String>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            faults: RefCell::new(Vec::new()),
            #[cfg(test)]
            heard: RefCell::default(),
        }
    }

    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            faults.push(Fault::at(self.text, span, message));
        }
    }

    /// All faults, in the order of the file.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    /// For messages: `[metric]`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        name: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self { source, table, name, span, asked: RefCell::default() }
    }

    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>) {
        self.source.fault(span, message);
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Where `key` stands, to point at it after it was read.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.fault(value.span(), format!("`{key}` in {} must be {wanted}, not a TOML {found}", self.name));
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str().map(|text| At { value: text.to_owned(), span: value.span() });
        if text.is_none() {
            self.wrong(key, value, "a text in quotes");
        }
        text
    }

    /// A text that must be there; its absence is a fault on the section.
    pub(super) fn required(&self, key: &'static str) -> Option<At<String>> {
        if !self.has(key) {
            self.asked.borrow_mut().push(key);
            self.fault(self.span.clone(), format!("{} needs `{key}`", self.name));
            return None;
        }
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.fault(text.span.clone(), format!("`{key}` in {} is empty", self.name));
        }
        Some(text)
    }

    /// One text or a list of texts.
    pub(super) fn texts(&self, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let one = |value: &Spanned<DeValue<'_>>| {
            let text = value.get_ref().as_str().map(|text| At { value: text.to_owned(), span: value.span() });
            if text.is_none() {
                self.wrong(key, value, "a text in quotes or a list of them");
            }
            text
        };
        match value.get_ref() {
            DeValue::Array(list) => list.iter().filter_map(one).collect(),
            _ => one(value).into_iter().collect(),
        }
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            self.wrong(key, value, "true or false");
        }
        truth
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let value = self.value(key)?;
        self.integer_of(key, value, &allowed)
    }

    /// One integer or a list of them.
    pub(super) fn integers(&self, key: &'static str, allowed: std::ops::RangeInclusive<u64>) -> Vec<At<u64>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(list) => {
                list.iter().filter_map(|one| self.integer_of(key, one, &allowed)).collect()
            }
            _ => self.integer_of(key, value, &allowed).into_iter().collect(),
        }
    }

    fn integer_of(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        allowed: &std::ops::RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong(key, value, "a whole number");
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if allowed.contains(&number) => Some(At { value: number, span: value.span() }),
            _ => {
                let (low, high) = (allowed.start(), allowed.end());
                self.fault(value.span(), format!("`{key}` in {} must be from {low} to {high}", self.name));
                None
            }
        }
    }

    /// An exact number: `0.1`, `7`, or a text.
    pub(super) fn decimal(&self, key: &'static str) -> Option<Decimal> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            DeValue::String(text) => text,
            _ => {
                self.wrong(key, value, "a number");
                return None;
            }
        };
        let number = text.parse().ok();
        if number.is_none() {
            self.fault(value.span(), format!("`{key}` in {} is not a decimal number", self.name));
        }
        number
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.chosen(key, &text, words)
    }

    pub(super) fn chosen<T: Copy>(
        &self,
        key: &str,
        text: &At<String>,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        #[cfg(test)]
        {
            let known = words.iter().map(|(word, _)| (*word).to_owned()).collect();
            self.source.heard.borrow_mut().words.insert((self.name.clone(), key.to_owned()), known);
        }
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = did_you_mean(&text.value, all.iter().copied())
                .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
            let message = format!("`{key}` in {} must be one of {}{hint}", self.name, all.join(", "));
            self.fault(text.span.clone(), message);
        }
        found
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.inner(key, table, value.span())),
            None => {
                self.wrong(key, value, "a table");
                None
            }
        }
    }

    fn inner(&self, key: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let name = match self.name.as_str() {
            "the profile" => format!("[{key}]"),
            outer => format!("{}.{key}]", outer.trim_end_matches(']')),
        };
        Section::new(self.source, name, table, span)
    }

    /// `[[key]]`, or a list of inline tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(key, value, "a list of tables; write [[…]]");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for one in list.iter() {
            match one.get_ref().as_table() {
                Some(table) => sections.push(self.inner(key, table, one.span())),
                None => self.wrong(key, one, "a list of tables"),
            }
        }
        sections
    }

    /// A table whose keys are free: each key with its value as a small section or text.
    pub(super) fn entries(&self, key: &'static str) -> Vec<(At<String>, &'a Spanned<DeValue<'a>>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key, value, "a table");
            return Vec::new();
        };
        table
            .iter()
            .map(|(key, value)| (At { value: key.get_ref().to_string(), span: key.span() }, value))
            .collect()
    }

    /// The value of `key` whatever it is, for keys that take several shapes.
    pub(super) fn any(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.value(key)
    }

    /// A section for a table found by [`Section::entries`] or [`Section::any`].
    pub(super) fn of_value(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Self> {
        value.get_ref().as_table().map(|table| self.inner(key, table, value.span()))
    }

    /// Says which keys nobody asked for. Call when everything was read.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        for key in asked.iter() {
            self.source.heard.borrow_mut().keys.insert((self.name.clone(), (*key).to_owned()));
        }
        for (key, _) in self.table {
            let word: &str = key.get_ref();
            if asked.contains(&word) {
                continue;
            }
            let hint = did_you_mean(word, asked.iter().copied()).map_or_else(
                || format!("; it knows {}", asked.join(", ")),
                |w| format!("; did you mean `{w}`?"),
            );
            self.fault(key.span(), format!("unknown key `{word}` in {}{hint}", self.name));
        }
    }
}
