//! Types and values of keys in a shard map file.

use toml::de::DeValue;

use crate::config::section::{Section, Wrong, described, did_you_mean, string};
use crate::shardmap::{Key, KeyType, KeyValue};

/// The word for keys that are names of schemas.
const SCHEMA: &str = "schema";

/// What the keys of a keyspace are.
pub(super) enum KeyTypes {
    /// The names of schemas.
    Schema,
    /// The values of one or more columns.
    Columns(Vec<KeyType>),
}

/// Whether a value for every column of the key is needed, or only for its first ones.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Whole {
    Yes,
    No,
}

/// `key_type`: one type, or a list of them.
pub(super) fn take_types(section: &mut Section<'_>) -> Option<KeyTypes> {
    if !section.has("key_type") {
        section.missing("key_type");
    }
    let read = |value: &DeValue<'_>| match string(value)? {
        word if word == SCHEMA => Ok(None),
        word => key_type(&word).map(Some),
    };
    let types = section.take_filled_list("key_type", read)?;
    match types.iter().map(|key_type| key_type.value).collect::<Option<Vec<_>>>() {
        Some(types) => Some(KeyTypes::Columns(types)),
        None if types.len() == 1 => Some(KeyTypes::Schema),
        None => {
            section.mistake("key_type: a schema cannot be one of several columns");
            None
        }
    }
}

fn key_type(given: &str) -> Result<KeyType, Wrong> {
    let known = || KeyType::ALL.into_iter().map(KeyType::name).chain([SCHEMA]);
    KeyType::from_name(given).ok_or_else(|| Wrong {
        message: format!(
            "{given:?} cannot be the type of a key, expected one of: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
        hint: did_you_mean(given, known()),
    })
}

/// The types that a region column may have.
pub(super) fn region_type(value: &DeValue<'_>) -> Result<KeyType, Wrong> {
    let given = string(value)?;
    let allowed = [KeyType::Text, KeyType::Varchar, KeyType::Enum, KeyType::Bool];
    allowed.into_iter().find(|allowed| allowed.name() == given).ok_or_else(|| {
        Wrong::new(format!("{given:?} cannot be the type of a region, expected one of: text, varchar, enum, bool"))
    })
}

/// A region's name as the value of its column.
pub(super) fn region_value(region_type: KeyType, name: &str) -> Option<KeyValue<'static>> {
    KeyValue::from_text(region_type, name).map(KeyValue::into_owned)
}

/// A key: a value, or a list of one for each column.
pub(super) fn read_key(types: &[KeyType], whole: Whole, value: &DeValue<'_>) -> Result<Key, Wrong> {
    let DeValue::Array(values) = value else {
        return match types {
            [only] => read_value(*only, value).map(|value| vec![value]),
            [first, ..] if whole == Whole::No => read_value(*first, value).map(|value| vec![value]),
            _ => Err(Wrong::new(format!("{} is no key of {} columns", described(value), types.len()))),
        };
    };
    let fits =
        if whole == Whole::Yes { values.len() == types.len() } else { (1..=types.len()).contains(&values.len()) };
    if !fits {
        return Err(Wrong::new(format!("a key has {} values, not {}", types.len(), values.len())));
    }
    types.iter().zip(values.iter()).map(|(key_type, value)| read_value(*key_type, value.get_ref())).collect()
}

/// A value: a string in the spelling that [`KeyValue::from_text`] knows, or a TOML number, date or boolean.
fn read_value(key_type: KeyType, value: &DeValue<'_>) -> Result<KeyValue<'static>, Wrong> {
    let wrong = || Wrong::new(format!("{} is not a plain value of type {key_type}", described(value)));
    let text = match value {
        DeValue::String(text) => text.to_string(),
        _ if matches!(key_type, KeyType::Text | KeyType::Varchar | KeyType::Enum | KeyType::Bytea) => {
            return Err(wrong());
        }
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Float(number) if key_type == KeyType::Numeric => number.as_str().to_owned(),
        DeValue::Boolean(value) if key_type == KeyType::Bool => value.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        _ => return Err(wrong()),
    };
    KeyValue::from_text(key_type, &text).map(KeyValue::into_owned).ok_or_else(wrong)
}
