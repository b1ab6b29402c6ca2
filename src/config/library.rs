//! Firmware profiles and templates: the built-in ones and, over them, those of the clinic's folder.

use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::firmware_profile::Library;
use crate::template::{Library as Templates, is_page};

/// The built-in profiles and, over them, those of the clinic's folder.
pub fn library(folder: Option<&Path>) -> Result<Library, ConfigError> {
    let embedded = Library::embedded().map_err(|fault| ConfigError::Whole(fault.to_string()))?;
    let Some(folder) = folder else { return Ok(embedded) };
    let mut files = Vec::new();
    for maker in folders(folder)? {
        for model in folders(&maker)? {
            let path = model.join("profile.toml");
            if !path.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            let id = model.strip_prefix(folder).unwrap_or(&model).display().to_string();
            files.push((id, text));
        }
    }
    embedded.with_overrides(files).map_err(|faults| ConfigError::Whole(faults.to_string()))
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: parent.into(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Deeper folders hold no templates.
const DEPTH_MAX: usize = 4;

/// The built-in templates and every page under `folder`, in the order of their paths.
pub fn templates(folder: Option<&Path>) -> Result<Templates, ConfigError> {
    let own = template_pages(folder)?;
    Templates::embedded_with(own).map_err(|fault| ConfigError::Whole(fault.to_string()))
}

/// Every page of templates under `folder`: path and text.
pub fn template_pages(folder: Option<&Path>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pages = Vec::new();
    if let Some(folder) = folder {
        walk(folder, 0, &mut pages)?;
    }
    pages.sort();
    let mut texts = Vec::with_capacity(pages.len());
    for path in pages {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        texts.push((path.display().to_string(), text));
    }
    Ok(texts)
}

fn walk(folder: &Path, depth: usize, pages: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            if depth < DEPTH_MAX {
                walk(&path, depth + 1, pages)?;
            }
        } else if is_page(&path.to_string_lossy()) {
            pages.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_clinic_stands_before_the_built_in_one() {
        let folder = tempfile::tempdir().unwrap();
        let own = "messages:\n  zzz:\n    for: [ZZZ^Z01]\n    make: [MSH.MessageHeader]\n";
        std::fs::create_dir(folder.path().join("messages")).unwrap();
        std::fs::write(folder.path().join("messages/own.yaml"), own).unwrap();
        let library = templates(Some(folder.path())).unwrap();
        assert!(library.messages().any(|(name, events)| name == "zzz" && events == ["ZZZ^Z01"]));
        std::fs::write(folder.path().join("wrong.yaml"), "maps:\n  PID.Pateint: {}\n").unwrap();
        let error = templates(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("wrong.yaml") && error.contains("did you mean Patient"), "{error}");
        assert!(templates(Some(Path::new("/nowhere"))).is_err());
    }
}
