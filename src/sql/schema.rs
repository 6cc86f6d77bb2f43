//! What is known of a database: which functions are built in and how volatile, which relations run code of users,
//! how the OIDs of the shards stand for each other. Read from the servers' own catalogs by `pool::inspect`.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::code::CodeClasses;
use super::facts::RelationName;
use super::scan::{LiteralSpan, scan};
use crate::shardmap::KeyType;
use crate::types::ShardId;
use crate::wire::oids::Translation;

/// A database's catalogs, as far as facts and routing need them. Immutable; a refresh makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Grows with every refresh; part of the key of cached facts.
    pub version: u64,
    /// Functions by name.
    pub functions: HashMap<String, FunctionClass>,
    /// User relations by schema and name. System relations are not listed.
    pub relations: FxHashMap<(String, String), Relation>,
    /// What the code of users may leave in a session.
    pub code: CodeClasses,
    /// Names of functions that are declared to touch only the shard that they run on.
    pub shard_local: HashSet<String>,
    /// Operators by name that exist outside pg_catalog: an unqualified use may run code of users.
    pub user_operators: HashSet<String>,
    /// The schemas that an unqualified name is looked up in, in order (`search_path` of a fresh session,
    /// `$user` resolved), without pg_catalog.
    pub search_path: Vec<String>,
    /// Roles for which an unqualified name may mean another relation than `search_path` leads to: their own setting, a
    /// schema of their name, or a schema that they may not use.
    pub other_paths: HashSet<String>,
    /// Some collation of the database is nondeterministic, so that equal texts may differ in their bytes.
    pub has_nondeterministic_collations: bool,
    /// How the OIDs of shards stand for the home shard's, which all others here are. Only for shards where some differ.
    pub translations: HashMap<ShardId, Arc<Translation>>,
    /// Shards whose primaries have `max_prepared_transactions = 0`.
    pub cannot_prepare: HashSet<ShardId>,
    /// Enums by their OIDs.
    pub enums: HashMap<u32, Enum>,
}

/// An enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub schema: String,
    pub name: String,
    /// The OID of the type of its arrays.
    pub array_oid: u32,
}

/// What the overloads of a function's name have in common, the most harmful one counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionClass {
    /// Every function of this name that an unqualified call could reach is in pg_catalog or information_schema.
    pub builtin: bool,
    pub volatility: Volatility,
    pub aggregate: bool,
    pub window: bool,
    /// It gives rows, in some overload.
    pub returns_set: bool,
}

impl FunctionClass {
    /// A function of PostgreSQL's own for tests, that gives a value for a row.
    #[cfg(test)]
    pub fn built_in(volatility: Volatility) -> Self {
        Self { builtin: true, volatility, aggregate: false, window: false, returns_set: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// A table or view of users.
#[derive(Clone, Debug, Default)]
pub struct Relation {
    /// In the order of a bare INSERT; dropped columns are not listed.
    pub columns: Vec<Column>,
    /// Why writing it may run code that a statement's text does not show: triggers, rules, row security, defaults or
    /// checks that call user functions.
    pub opaque_write: Option<String>,
    /// Why reading it may: row security, a foreign table. Views always may.
    pub opaque_read: Option<String>,
    /// A type of its columns that the home shard lacks.
    pub homeless_type: Option<String>,
    pub is_view: bool,
    /// A view's query, where the database is sharded.
    pub view: Option<View>,
    pub unlogged: bool,
    /// The columns of its primary key, unless that is deferrable: GROUP BY may rely on it.
    pub primary_key: Vec<String>,
    /// Why a row cannot be deleted and inserted in place of an update.
    pub immovable: Option<String>,
    /// Only another shard than the home shard has it.
    pub is_away: bool,
}

/// A view's query, all its names qualified.
#[derive(Clone, Debug)]
pub struct View {
    pub definition: String,
    pub literals: Vec<LiteralSpan>,
}

impl View {
    /// `None` for a text whose literals cannot be told.
    pub fn new(definition: String) -> Option<Self> {
        let mut literals = Vec::new();
        scan(&definition, true, &mut Vec::new(), &mut literals).ok()?;
        Some(Self { definition, literals })
    }
}

/// A column of a user relation.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// On the home shard; zero where that lacks the type.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`: -1 when the type has no modifier, such as the length of `varchar(n)`.
    pub type_modifier: i32,
    /// The column has a default (or is generated, or an identity) that is not a plain constant.
    pub computed_default: bool,
    /// The default as SQL writes it, where the column is not generated and takes no number.
    pub default: Option<String>,
    /// GENERATED ALWAYS AS (...) STORED.
    pub is_generated: bool,
    /// Its default is evaluated once for a whole statement or transaction, as `now()` is.
    pub moment_default: bool,
    /// Where the default takes a number.
    pub sequence: Option<Sequence>,
    /// Its collation is neither the database's nor that of its type.
    pub own_collation: bool,
    /// Texts of the column are ordered by their bytes: its collation is "C".
    pub ordered_by_bytes: bool,
    pub not_null: bool,
}

impl Column {
    /// A column of which nothing is known but its name.
    pub fn of_name(name: String) -> Self {
        Self {
            name,
            type_oid: 0,
            type_modifier: -1,
            computed_default: false,
            default: None,
            is_generated: false,
            moment_default: false,
            sequence: None,
            own_collation: false,
            ordered_by_bytes: false,
            not_null: false,
        }
    }

    /// A column of no type for tests, without any peculiarities.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self::of_name(String::new())
    }
}

/// A sequence that a column's default takes numbers from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// With its schema, quoted where need be. Empty if the default is more than its next number.
    pub name: String,
    /// GENERATED ALWAYS AS IDENTITY.
    pub always: bool,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug)]
pub enum Resolved<'s> {
    /// A relation of pg_catalog or information_schema.
    System,
    /// A user relation with the schema it was found in.
    User { schema: &'s str, relation: &'s Relation },
    /// Nothing of that name is known.
    Unknown,
}

/// A relation's schema and name, owned or not, so that relations can be looked up without copies of these.
trait RelationKey {
    fn parts(&self) -> (&str, &str);
}

impl RelationKey for (String, String) {
    fn parts(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl RelationKey for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl<'k> Borrow<dyn RelationKey + 'k> for (String, String) {
    fn borrow(&self) -> &(dyn RelationKey + 'k) {
        self
    }
}

// As of the tuple of strings: a map finds its keys by either.
impl Hash for dyn RelationKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn RelationKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn RelationKey + '_ {}

impl Schema {
    /// The key type with this OID.
    pub fn key_type(&self, oid: u32) -> Option<KeyType> {
        if self.enums.contains_key(&oid) { Some(KeyType::Enum) } else { KeyType::from_oid(oid) }
    }

    /// How the OIDs of a shard stand for the home shard's; `None` where they are the same.
    pub fn translation(&self, shard: ShardId) -> Option<&Arc<Translation>> {
        self.translations.get(&shard)
    }

    /// Whether a type's name leads to an enum, in the schema that is named or in those of `search_path`.
    pub fn names_enum(&self, schema: Option<&str>, name: &str) -> bool {
        let is_meant = |found: &Enum| match schema {
            Some(schema) => found.schema == schema,
            None => self.search_path.contains(&found.schema),
        };
        self.enums.values().any(|found| found.name == name && is_meant(found))
    }

    /// The enum whose arrays have this type.
    pub fn enum_of_array(&self, array_oid: u32) -> Option<u32> {
        self.enums.iter().find(|(_, found)| found.array_oid == array_oid).map(|(oid, _)| *oid)
    }

    /// Looks a name up as a fresh session would. pg_catalog is searched first, as PostgreSQL does.
    pub fn resolve(&self, name: &RelationName) -> Resolved<'_> {
        match &name.schema {
            Some(schema) if is_system_schema(schema) => Resolved::System,
            Some(schema) => self.lookup(schema, &name.name),
            None if self.is_system_relation(&name.name) => Resolved::System,
            None => self
                .search_path
                .iter()
                .map(|schema| self.lookup(schema, &name.name))
                .find(|found| !matches!(found, Resolved::Unknown))
                .unwrap_or(Resolved::Unknown),
        }
    }

    fn lookup(&self, schema: &str, name: &str) -> Resolved<'_> {
        let name: &dyn RelationKey = &(schema, name);
        match self.relations.get_key_value(name) {
            Some(((schema, _), relation)) => Resolved::User { schema, relation },
            None => Resolved::Unknown,
        }
    }

    /// pg_catalog's relations all start with `pg_`, and PostgreSQL looks there first.
    fn is_system_relation(&self, name: &str) -> bool {
        name.starts_with("pg_")
            && !self.search_path.iter().any(|schema| self.relations.contains_key(&(schema.clone(), name.to_owned())))
    }
}

/// Whether a schema belongs to PostgreSQL itself.
pub fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pg_toast")
}
