//! The segments of a message, gathered into the groups a template describes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::page::Group;
use super::source::Source;

/// More groups than this in one message are not gathered; the rest of the segments is told as unread.
const SCOPES_MAX: usize = 100_000;

/// One group of segments of one message.
#[derive(Debug)]
pub(super) struct Scope<'t> {
    pub(super) group: &'t Group,
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    /// Its own segments, without those of the groups inside.
    pub(super) segments: Vec<u32>,
    /// How far the opening segments of the group have come.
    opened: usize,
}

/// All groups; the first is the message.
pub(super) fn gather<'t>(
    root: &'t Group,
    groups: &'t BTreeMap<Arc<str>, Arc<Group>>,
    source: &Source<'_>,
) -> Vec<Scope<'t>> {
    let scope =
        |group, parent| Scope { group, parent, children: Vec::new(), segments: Vec::new(), opened: 0 };
    let mut scopes = vec![scope(root, None)];
    let mut current = 0;
    for index in 0..u32::try_from(source.segments.len()).unwrap_or(u32::MAX) {
        let name = source.name(index);
        // From the innermost group outwards: who takes this segment, or opens a group for it?
        let mut at = Some(current);
        while let Some(number) = at {
            let Some(here) = scopes.get(number) else { break };
            let begins = here.group.begins.iter().position(|opener| **opener == *name);
            if let Some(step) = begins {
                if step > here.opened {
                    take(&mut scopes, number, index, step);
                    current = number;
                    break;
                }
                at = here.parent;
                continue;
            }
            let inner = here.group.groups.iter().find_map(|(inner, _)| {
                let group = groups.get(inner)?;
                let step = group.begins.iter().position(|opener| **opener == *name)?;
                Some((&**group, step))
            });
            if let (Some((group, step)), true) = (inner, scopes.len() < SCOPES_MAX) {
                let made = scopes.len();
                scopes.push(scope(group, Some(number)));
                if let Some(parent) = scopes.get_mut(number) {
                    parent.children.push(made);
                }
                take(&mut scopes, made, index, step);
                current = made;
                break;
            }
            let holds = here.group.holds.as_ref().is_none_or(|all| all.iter().any(|held| **held == *name));
            if holds || here.parent.is_none() {
                let step = here.opened;
                take(&mut scopes, number, index, step);
                current = number;
                break;
            }
            at = here.parent;
        }
    }
    scopes
}

fn take(scopes: &mut [Scope<'_>], number: usize, index: u32, step: usize) {
    if let Some(scope) = scopes.get_mut(number) {
        scope.segments.push(index);
        scope.opened = step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::{Charset, Message};

    fn group(name: &str, begins: &[&str], holds: Option<&[&str]>, groups: &[&str]) -> Group {
        Group {
            name: name.into(),
            begins: begins.iter().map(|one| Box::from(*one)).collect(),
            holds: holds.map(|all| all.iter().map(|one| Box::from(*one)).collect()),
            groups: groups.iter().map(|one| (Arc::from(*one), 0..0)).collect(),
            ..Group::default()
        }
    }

    #[test]
    fn segments_are_gathered_as_the_groups_say() {
        let text = "MSH|^~\\&\rPID\rPV1\rORC\rOBR\rNTE\rOBX\rNTE\rOBX\rSPM\rOBR\rOBX\rPID\rZZZ\r";
        let parsed = Message::parse(text.as_bytes(), Charset::default());
        let message = parsed.message.unwrap();
        let source = Source::new(&message);
        let root = group("oru", &[], None, &["patient"]);
        let groups = [
            group("patient", &["PID"], None, &["order"]),
            group("order", &["ORC", "OBR"], Some(&["NTE", "SPM"]), &["observation"]),
            group("observation", &["OBX"], Some(&["NTE"]), &[]),
        ];
        let groups: BTreeMap<_, _> =
            groups.into_iter().map(|group| (Arc::clone(&group.name), Arc::new(group))).collect();
        let scopes = gather(&root, &groups, &source);
        let shown: Vec<String> = scopes
            .iter()
            .map(|scope| {
                let names: Vec<_> = scope.segments.iter().map(|index| source.name(*index)).collect();
                format!("{}:{}", scope.group.name, names.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "oru:MSH",
                "patient:PID PV1",
                "order:ORC OBR NTE SPM",
                "observation:OBX NTE",
                "observation:OBX",
                "order:OBR",
                "observation:OBX",
                "patient:PID ZZZ"
            ]
        );
    }
}
