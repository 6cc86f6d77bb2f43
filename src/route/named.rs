//! The client's word for a shard: what `SET weir.shard`, `SET weir.sharding_key` and a comment in front of a statement say.

use crate::shardmap::{KeyValue, ShardMap};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Settings of Weir's own begin so; servers never see them.
pub const OWN_SETTINGS: &str = "weir.";

/// What names a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Shard(String),
    /// The shard that owns this key: `value`, or `keyspace:value`.
    Key(String),
}

impl Named {
    /// What a setting names; an empty value names nothing.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn by_setting(name: &str, value: Option<&str>) -> Result<Option<Self>> {
        let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
        match name {
            "weir.shard" => Ok(value.map(Self::Shard)),
            "weir.sharding_key" => Ok(value.map(Self::Key)),
            other => Err(invalid(format!("unrecognized configuration parameter \"{other}\""))
                .hint("Weir's own settings are weir.shard and weir.sharding_key.")),
        }
    }

    /// What a comment in front of a statement names: `/* weir shard=two */` or `/* weir sharding_key=42 */`.
    ///
    /// # Errors
    /// The comment is for Weir, and says something else.
    pub fn by_comment(statement: &str) -> Result<Option<Self>> {
        let Some(rest) = statement.trim_start().strip_prefix("/*") else { return Ok(None) };
        let Some(words) = rest.trim_start().strip_prefix("weir").filter(|words| words.starts_with([' ', '\t'])) else {
            return Ok(None);
        };
        let hint = words.split_once("*/").map_or(words, |(hint, _)| hint).trim();
        match hint.split_once('=') {
            Some(("shard", name)) => Ok(Some(Self::Shard(unquoted(name)))),
            Some(("sharding_key", key)) => Ok(Some(Self::Key(unquoted(key)))),
            _ => Err(invalid(format!("cannot read the comment \"weir {hint}\""))
                .hint("Write /* weir shard=name */ or /* weir sharding_key=value */.")),
        }
    }

    /// The shard.
    ///
    /// # Errors
    /// There is none of that name, or the key leads to none.
    pub fn shard(&self, map: &ShardMap) -> Result<ShardId> {
        match self {
            Self::Shard(name) => {
                let place = map.shard_ids().find(|shard| map.shard_name(*shard) == name);
                place.ok_or_else(|| {
                    let names: Vec<&str> = map.shard_ids().map(|shard| map.shard_name(shard)).collect();
                    invalid(format!("there is no shard \"{name}\"")).hint(format!("There are: {}.", names.join(", ")))
                })
            }
            Self::Key(key) => owner(map, key),
        }
    }
}

fn owner(map: &ShardMap, key: &str) -> Result<ShardId> {
    let named = key.split_once(':').and_then(|(name, value)| {
        let keyspace = map.keyspaces().iter().find(|keyspace| keyspace.name == name)?;
        Some((keyspace, value))
    });
    let mut simple = map.keyspaces().iter().filter(|keyspace| keyspace.key.len() == 1);
    let (keyspace, value) = match (named, simple.next(), simple.next()) {
        (Some(named), ..) => named,
        (None, Some(only), None) => (only, key),
        _ => {
            return Err(invalid(format!("cannot tell the keyspace of the key \"{key}\""))
                .hint("Give it in front of the key: keyspace:value."));
        }
    };
    let [key_type] = keyspace.key.as_slice() else {
        return Err(Error::refuse(
            "a key of several columns cannot name a shard",
            format!("The keys of keyspace {} are of types {}.", keyspace.name, keyspace.type_names()),
        )
        .hint("Use weir.shard."));
    };
    match KeyValue::from_text(*key_type, value) {
        Some(value) => keyspace.shard_of(&[value]),
        None => Err(invalid(format!("\"{value}\" is no key of keyspace {}", keyspace.name))
            .detail(format!("Its keys are of type {key_type}, in PostgreSQL's plain spelling."))),
    }
}

fn unquoted(word: &str) -> String {
    let word = word.trim();
    word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')).unwrap_or(word).to_owned()
}

fn invalid(message: String) -> Error {
    Error::new(Origin::Client, Kind::InvalidValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_shards() {
        let named = |text: &str| Named::by_comment(text).map_err(|error| error.to_string());
        assert_eq!(named("SELECT 1 /* weir shard=two */"), Ok(None));
        assert_eq!(named("/* other */ SELECT 1"), Ok(None));
        assert_eq!(named("/* weird shard=two */ SELECT 1"), Ok(None));
        assert_eq!(named(" /* weir shard=two */ SELECT 1"), Ok(Some(Named::Shard("two".into()))));
        assert_eq!(named("/*weir sharding_key='a b'*/ SELECT 1"), Ok(Some(Named::Key("a b".into()))));
        assert!(named("/* weir two */ SELECT 1").is_err());
        assert!(named("/* weir shards=two */ SELECT 1").is_err());
    }

    #[test]
    fn settings_name_shards() {
        assert_eq!(Named::by_setting("weir.shard", Some("two")).unwrap(), Some(Named::Shard("two".into())));
        assert_eq!(Named::by_setting("weir.shard", Some("")).unwrap(), None);
        assert_eq!(Named::by_setting("weir.sharding_key", None).unwrap(), None);
        assert!(Named::by_setting("weir.other", Some("x")).is_err());
    }
}
