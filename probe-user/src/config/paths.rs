//! Key paths such as `service[0].ports[1]`, and what lies at their end in untyped TOML.

use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::keys;

/// One step from a value to a part of it.
pub(super) enum Step {
    Key(String),
    Index(usize),
}

pub(super) fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// The steps of a path such as `service[0].name`.
pub(super) fn dotted(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        steps.push(Step::Key(pieces.next().unwrap_or_default().to_owned()));
        steps.extend(
            pieces
                .filter_map(|piece| piece.trim_end_matches(']').parse().ok())
                .map(Step::Index),
        );
    }
    steps
}

pub(super) fn value_at<'a>(table: &'a mut Table, steps: &[Step]) -> Option<&'a mut Value> {
    let (Step::Key(first), rest) = steps.split_first()? else {
        return None;
    };
    rest.iter()
        .try_fold(table.get_mut(first)?, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        })
}

/// Removes the innermost key on the way; an element of a list takes the list with it, because the
/// places of the others must stay what they are.
pub(super) fn remove(table: &mut Table, steps: &[Step]) -> bool {
    let Some(last) = steps.iter().rposition(|step| matches!(step, Step::Key(_))) else {
        return false;
    };
    let (Some(parents), Some(Step::Key(key))) = (steps.get(..last), steps.get(last)) else {
        return false;
    };
    if parents.is_empty() {
        return table.remove(key).is_some();
    }
    match value_at(table, parents) {
        Some(Value::Table(inner)) => inner.remove(key).is_some(),
        _ => false,
    }
}

/// Tells the offset of each key and each element of a list.
pub(super) fn note_lines(prefix: &str, table: &DeTable<'_>, note: &mut impl FnMut(String, usize)) {
    for (key, value) in table.iter() {
        let path = join(prefix, key.get_ref());
        note_value(&path, value.get_ref(), note);
        note(path, key.span().start);
    }
}

fn note_value(path: &str, value: &DeValue<'_>, note: &mut impl FnMut(String, usize)) {
    match value {
        DeValue::Table(table) => note_lines(path, table, note),
        DeValue::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let path = format!("{path}[{index}]");
                note_value(&path, element.get_ref(), note);
                note(path, element.span().start);
            }
        }
        _ => {}
    }
}

/// Takes keys that don't exist out of the table.
pub(super) fn drop_unknown(prefix: &str, table: &mut Table, unknown: &mut Vec<String>) {
    table.retain(|key, value| {
        let path = join(prefix, key);
        if keys::find(&path).is_none() {
            unknown.push(path);
            return false;
        }
        match value {
            Value::Table(inner) => drop_unknown(&path, inner, unknown),
            Value::Array(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    if let Value::Table(inner) = element {
                        drop_unknown(&format!("{path}[{index}]"), inner, unknown);
                    }
                }
            }
            _ => {}
        }
        true
    });
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}
