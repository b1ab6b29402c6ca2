//! What of a configuration stands in its file, so that the desk can say where a value comes from.

use std::collections::BTreeSet;

/// Where a configuration was read, and what stands in it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file.
    pub place: String,
    /// Keys that it says, such as `site.zone`.
    said: BTreeSet<String>,
    /// Keys that the desk says, because the file does not.
    desk: BTreeSet<&'static str>,
}

impl Origin {
    pub(super) fn of(text: &str, place: &str) -> Self {
        let mut said = BTreeSet::new();
        for (section, value) in toml::from_str::<toml::Table>(text).unwrap_or_default() {
            if let Some(keys) = value.as_table() {
                said.extend(keys.keys().map(|key| format!("{section}.{key}")));
            }
            said.insert(section);
        }
        Self { place: place.into(), said, desk: BTreeSet::new() }
    }

    /// `file` when the key stands there, `desk` when it was said at the desk, else `default`.
    pub fn source(&self, key: &str) -> &'static str {
        match () {
            () if self.said.contains(key) => "file",
            () if self.desk.contains(key) => "desk",
            () => "default",
        }
    }

    /// From now on the desk says it.
    pub fn said_at_the_desk(&mut self, key: &'static str) {
        self.desk.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_say_is_a_default() {
        let origin =
            Origin::of("secrets = \"/x\"\n[site]\nname = \"W\"\n[[link]]\nname = \"l\"\n", "/etc/b.toml");
        let of = |key| origin.source(key);
        assert_eq!((of("site.name"), of("secrets"), of("site.zone")), ("file", "file", "default"));
        assert_eq!(origin.place, "/etc/b.toml");
    }
}
