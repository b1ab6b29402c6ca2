use super::*;
use serde_json::{Value, json};

fn resource(kind: &'static str, id: &str, text: &str) -> Resource {
    let tree = json!({ "resourceType": kind, "id": id, "text": text });
    Resource::new(kind, id.into(), ("urn:s".into(), id.into()), &tree).unwrap()
}

fn entry(id: i64) -> (i64, Vec<Resource>) {
    let value = resource("Observation", &format!("o{id}"), "72");
    (id, vec![value, resource("Patient", "p", "same for all")])
}

fn deliver(folder: &Folder, entries: &[(i64, Vec<Resource>)], tried: bool) -> Vec<Verdict> {
    let carried: Vec<Carried<'_>> =
        entries.iter().map(|(id, resources)| Carried { id: *id, tried, resources }).collect();
    folder.deliver(&carried)
}

fn accepted(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| matches!(verdict, Verdict::Accepted { .. }))
}

/// File names and what the manifests say, checked against the files.
fn files(path: &Path) -> Vec<(String, Value)> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().for_each(|name| assert!(!name.starts_with('.'), "{name} was left"));
    let manifests = names.iter().filter(|name| name.ends_with(MANIFEST_END));
    let read = |name: &String| {
        let said: Value = serde_json::from_slice(&fs::read(path.join(name)).unwrap()).unwrap();
        let text = fs::read_to_string(path.join(said["file"].as_str().unwrap())).unwrap();
        assert_eq!(said["lines"], text.lines().count());
        assert_eq!(said["bytes"], text.len());
        assert_eq!(said["sha256"], hex(digest(&SHA256, text.as_bytes()).as_ref()));
        assert!(
            text.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["resourceType"].is_string())
        );
        (said["file"].as_str().unwrap().to_owned(), said)
    };
    manifests.map(read).collect()
}

fn stick() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bedside");
    fs::create_dir(&path).unwrap();
    (dir, Folder::new(Config { folder: path }))
}

#[test]
fn a_batch_is_one_file_with_its_counts_and_hashes() {
    let (_dir, folder) = stick();
    assert!(accepted(&deliver(&folder, &[entry(1), entry(2)], false)));
    let files = files(folder.path());
    assert_eq!(files.len(), 1);
    let (name, said) = &files[0];
    assert!(name.starts_with("000000000001-000000000002-"), "{name}");
    assert_eq!(said["resources"], json!({ "Observation": 2, "Patient": 1 }), "one patient, one line");
    let text = fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(text.lines().next().unwrap().contains("Patient"), "what is referred to stands first");
}

#[test]
fn what_was_written_before_a_crash_is_not_written_again_in_whatever_company() {
    let (_dir, folder) = stick();
    deliver(&folder, &[entry(1), entry(2)], false);
    assert!(accepted(&deliver(&folder, &[entry(1), entry(2), entry(3)], true)));
    let files = files(folder.path());
    assert_eq!(files.len(), 2);
    assert_eq!(files[1].1["entries"].as_array().unwrap().len(), 1, "only the third is new");
    let mut corrected = entry(1);
    corrected.1[0] = resource("Observation", "o1", "taken back");
    deliver(&folder, &[corrected], true);
    assert_eq!(self::files(folder.path()).len(), 3, "a correction is another thing to carry");
}

#[test]
fn a_file_without_its_manifest_or_cut_short_does_not_count() {
    let (_dir, folder) = stick();
    deliver(&folder, &[entry(1)], false);
    let name = files(folder.path())[0].0.clone();
    let whole = fs::read(folder.path().join(&name)).unwrap();
    fs::write(folder.path().join(&name), &whole[..10]).unwrap();
    fs::write(folder.path().join(format!(".x{PART_END}")), "half").unwrap();
    fs::write(folder.path().join(format!("holiday{MANIFEST_END}")), "photos").unwrap();
    assert!(accepted(&deliver(&folder, &[entry(1)], true)));
    assert_eq!(fs::read(folder.path().join(&name)).unwrap(), whole, "the same name, whole again");
    fs::remove_file(folder.path().join(format!("holiday{MANIFEST_END}"))).unwrap();
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn without_the_stick_everything_waits_and_nothing_is_made_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(Config { folder: dir.path().join("bedside") });
    let verdicts = deliver(&folder, &[entry(1)], false);
    let Verdict::Retry { reason, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
    assert!(reason.contains("plug the stick in"), "{reason}");
    assert!(!folder.path().exists());
    fs::create_dir(folder.path()).unwrap();
    assert!(accepted(&deliver(&folder, &[entry(1)], true)));
}

#[test]
fn an_entry_with_nothing_to_carry_makes_no_file() {
    let (_dir, folder) = stick();
    assert!(accepted(&deliver(&folder, &[(1, Vec::new())], false)));
    assert!(files(folder.path()).is_empty());
    assert!(Config { folder: "stick".into() }.check().unwrap_err().contains("full path"));
}
