//! OIDs of what users made. Each server numbers types and relations in its own way; the clients of a sharded database
//! know the home shard's numbers.
//!
//! An OID has four bytes wherever it stands, so a message keeps its length and its shape: OIDs are overwritten in place.
//! They stand in descriptions, in Parse, and in binary values of arrays, composites and `reg*` types. Text has none.

mod value;

use rustc_hash::FxHashMap;

use self::value::Cursor;
use crate::types::{Error, Kind, Origin, Result};

/// The lowest OID that is not PostgreSQL's own: `FirstNormalObjectId` of its sources. Lower ones are the same on all
/// servers.
pub const FIRST_NORMAL_OID: u32 = 16384;

/// What a binary value of a type is made of, as far as it may have OIDs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None are.
    Plain,
    /// Elements of this type.
    Array(u32),
    /// Columns, each with its type in front.
    Record,
    /// Bounds of this type.
    Range(u32),
    /// Ranges of this type.
    Multirange(u32),
    /// What a value of this type is made of.
    Domain(u32),
    /// The value is a type's OID.
    TypeOid,
    /// The value is a relation's OID.
    RelationOid,
    /// The value is the OID of something else: a function, an operator, a role.
    OtherOid,
}

/// A type in the catalogs of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Unique on its server, and the same for the same type on another one.
    pub name: String,
    pub oid: u32,
    pub form: Form,
}

/// A relation in the catalogs of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// As in [`Type::name`].
    pub name: String,
    pub oid: u32,
    /// Its columns with their numbers.
    pub columns: String,
}

/// What users made on one server.
#[derive(Clone, Debug, Default)]
pub struct Numbered {
    pub types: Vec<Type>,
    pub relations: Vec<Relation>,
}

/// How the OIDs of one shard stand for those of the home shard.
#[derive(Debug)]
pub struct Translation {
    to_home: Direction,
    to_shard: Direction,
}

/// From the OIDs of one server to those of another.
#[derive(Debug)]
pub struct Direction {
    /// By the first server's OIDs.
    types: FxHashMap<u32, Entry>,
    relations: FxHashMap<u32, u32>,
    /// The names of those that the other server lacks.
    missing: FxHashMap<u32, Box<str>>,
    /// What messages call the two servers.
    from: Box<str>,
    to: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `INVALID` where the other server has no such type.
    other: u32,
    form: Form,
}

/// PostgreSQL's `InvalidOid`.
const INVALID: u32 = 0;

/// Why an OID or a value cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// The bytes are no value of their type.
    Malformed,
    /// The other server is not known to have this type, relation or other object.
    Unknown(u32),
    /// Values lie in values beyond all reason.
    Deep,
}

impl Translation {
    /// The translation between the home shard and another one, of this name; `None` where the shard's numbers are the
    /// home shard's.
    pub fn between(home: &Numbered, shard: &Numbered, name: &str) -> Option<Self> {
        let (at_home, there) = ("the home shard".to_owned(), format!("shard \"{name}\""));
        let to_home = Direction::new(shard, home, &there, &at_home);
        let is_same = to_home.types.iter().all(|(oid, entry)| *oid == entry.other)
            && to_home.relations.iter().all(|(oid, other)| oid == other);
        (!is_same).then(|| Self { to_home, to_shard: Direction::new(home, shard, &at_home, &there) })
    }

    /// For what the shard sends.
    pub fn to_home(&self) -> &Direction {
        &self.to_home
    }

    /// For what the shard is sent.
    pub fn to_shard(&self) -> &Direction {
        &self.to_shard
    }
}

impl Direction {
    fn new(from: &Numbered, to: &Numbered, from_name: &str, to_name: &str) -> Self {
        let theirs: FxHashMap<&str, &Type> = to.types.iter().map(|other| (other.name.as_str(), other)).collect();
        let other = |own: &Type| theirs.get(own.name.as_str()).filter(|other| is_alike(own.form, other.form));
        let entry = |own: &Type| Entry { other: other(own).map_or(INVALID, |other| other.oid), form: own.form };
        let missing = from.types.iter().filter(|own| other(own).is_none());
        let tables: FxHashMap<&str, &Relation> =
            to.relations.iter().map(|other| (other.name.as_str(), other)).collect();
        // A column of a table is known by both numbers: a table whose columns are numbered otherwise is another one.
        let table = |own: &Relation| tables.get(own.name.as_str()).filter(|other| other.columns == own.columns);
        Self {
            missing: missing.map(|own| (own.oid, own.name.as_str().into())).collect(),
            types: from.types.iter().map(|own| (own.oid, entry(own))).collect(),
            relations: from
                .relations
                .iter()
                .map(|own| (own.oid, table(own).map_or(INVALID, |other| other.oid)))
                .collect(),
            from: from_name.into(),
            to: to_name.into(),
        }
    }

    /// The other server's OID of a type.
    ///
    /// # Errors
    /// Refuses a type that the other server is not known to have.
    pub fn type_oid(&self, oid: u32) -> Result<u32> {
        self.find_type(oid).map_err(|flaw| self.error(flaw))
    }

    /// What messages call a type that the other server lacks.
    pub fn type_name(&self, oid: u32) -> String {
        self.missing.get(&oid).map_or_else(|| format!("with OID {oid}"), |name| name.to_string())
    }

    /// Whether binary values of the type may have OIDs in them.
    pub fn is_numbered(&self, oid: u32) -> bool {
        match self.form(oid) {
            Ok(Form::Plain) => false,
            Ok(Form::Array(element)) => element >= FIRST_NORMAL_OID || self.is_numbered(element),
            Ok(Form::Range(inner) | Form::Multirange(inner) | Form::Domain(inner)) => self.is_numbered(inner),
            Ok(Form::Record | Form::TypeOid | Form::RelationOid | Form::OtherOid) | Err(_) => true,
        }
    }

    /// Translates the body of a RowDescription. A column of a relation that the other server lacks becomes one of no
    /// relation.
    ///
    /// # Errors
    /// As [`Direction::type_oid`].
    pub fn row_description(&self, body: &mut [u8]) -> Result<()> {
        self.columns(&mut Cursor::new(body)).map_err(|flaw| self.error(flaw))
    }

    /// Translates the body of a ParameterDescription.
    ///
    /// # Errors
    /// As [`Direction::type_oid`].
    pub fn parameter_description(&self, body: &mut [u8]) -> Result<()> {
        self.parameters(&mut Cursor::new(body)).map_err(|flaw| self.error(flaw))
    }

    /// Translates a DataRow's body: the binary values in `columns`, by their places and their types' OIDs on the server
    /// that sent them. The places ascend.
    ///
    /// # Errors
    /// As [`Direction::type_oid`], and a value that is none of its type.
    pub fn data_row(&self, columns: &[(usize, u32)], body: &mut [u8]) -> Result<()> {
        self.row(columns, &mut Cursor::new(body)).map_err(|flaw| self.error(flaw))
    }

    /// Translates the arguments of a Bind (all that is behind its names), whose parameters have these types. A value that
    /// is none of its type stays as it is: the server says so.
    ///
    /// # Errors
    /// As [`Direction::type_oid`].
    pub fn bind_arguments(&self, types: &[u32], arguments: &mut [u8]) -> Result<()> {
        self.arguments(types, &mut Cursor::new(arguments)).map_err(|flaw| self.error(flaw))
    }

    fn columns(&self, body: &mut Cursor<'_>) -> Result<(), Flaw> {
        for _ in 0..body.count()? {
            body.cstr()?;
            let (relation, attribute) = (body.array::<4>()?, body.array::<2>()?);
            let other = self.relation(u32::from_be_bytes(*relation));
            *relation = other.to_be_bytes();
            if other == INVALID {
                *attribute = [0; 2];
            }
            self.type_at(body)?;
            // Size, modifier, format.
            body.bytes(8)?;
        }
        Ok(())
    }

    fn parameters(&self, body: &mut Cursor<'_>) -> Result<(), Flaw> {
        for _ in 0..body.count()? {
            self.type_at(body)?;
        }
        Ok(())
    }

    fn row(&self, columns: &[(usize, u32)], body: &mut Cursor<'_>) -> Result<(), Flaw> {
        let mut wanted = columns.iter().peekable();
        for place in 0..body.count()? {
            let value = body.value()?;
            if let Some((_, oid)) = wanted.next_if(|(wanted, _)| *wanted == place)
                && let Some(value) = value
            {
                self.value(*oid, value)?;
            }
        }
        // A row with fewer columns than its description is none of it.
        if wanted.next().is_none() { Ok(()) } else { Err(Flaw::Malformed) }
    }

    fn arguments(&self, types: &[u32], arguments: &mut Cursor<'_>) -> Result<(), Flaw> {
        let formats: Vec<bool> =
            (0..arguments.count()?).map(|_| Ok(*arguments.array::<2>()? == [0, 1])).collect::<Result<_, Flaw>>()?;
        for place in 0..arguments.count()? {
            let is_binary = match formats.as_slice() {
                [all] => *all,
                each => each.get(place).copied().unwrap_or(false),
            };
            let value = arguments.value()?;
            if let (true, Some(oid), Some(value)) = (is_binary, types.get(place), value) {
                match self.value(*oid, value) {
                    Ok(()) | Err(Flaw::Malformed) => {}
                    Err(flaw) => return Err(flaw),
                }
            }
        }
        Ok(())
    }

    fn type_at(&self, body: &mut Cursor<'_>) -> Result<(), Flaw> {
        let oid = body.array::<4>()?;
        *oid = self.find_type(u32::from_be_bytes(*oid))?.to_be_bytes();
        Ok(())
    }

    fn find_type(&self, oid: u32) -> Result<u32, Flaw> {
        if oid < FIRST_NORMAL_OID {
            return Ok(oid);
        }
        let other = self.types.get(&oid).map_or(INVALID, |entry| entry.other);
        if other == INVALID { Err(Flaw::Unknown(oid)) } else { Ok(other) }
    }

    /// `INVALID` for a relation that the other server is not known to have.
    fn relation(&self, oid: u32) -> u32 {
        if oid < FIRST_NORMAL_OID { oid } else { self.relations.get(&oid).copied().unwrap_or(INVALID) }
    }

    fn form(&self, oid: u32) -> Result<Form, Flaw> {
        if oid < FIRST_NORMAL_OID {
            return Ok(builtin_form(oid));
        }
        self.types.get(&oid).map(|entry| entry.form).ok_or(Flaw::Unknown(oid))
    }

    /// The refusal of what cannot be translated.
    fn error(&self, flaw: Flaw) -> Error {
        let Self { from, to, .. } = self;
        match flaw {
            Flaw::Unknown(oid) => {
                let (name, reason) = match self.missing.get(&oid) {
                    Some(name) => (format!("type {name}"), format!("{to} has no such type")),
                    None => (
                        format!("OID {oid}"),
                        "it is not among the types that Weir has read from the catalogs".to_owned(),
                    ),
                };
                Error::refuse(
                    format!("cannot translate {name} of {from}"),
                    format!("Clients know types by the home shard's OIDs, and {reason}."),
                )
                .hint(
                    "Make types through Weir, so that every shard has them, or convert the value to text. If the schema \
                     is just being changed, try again.",
                )
            }
            Flaw::Deep => Error::refuse(
                "cannot translate a value",
                format!("A value in binary format has more than {} levels.", value::LEVELS_MAX),
            )
            .hint("Use text format."),
            Flaw::Malformed => {
                Error::new(Origin::Weir, Kind::ServerLost, format!("{from} sent a value that cannot be read"))
                    .detail("A value in binary format is not one of its type; its OIDs cannot be translated.")
                    .hint("Ask for text format.")
            }
        }
    }
}

/// Whether two types of one name are made alike. OIDs in them are each server's own.
fn is_alike(one: Form, other: Form) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

/// The form of PostgreSQL's own types. Source: `pg_type.dat`. Row types of its catalogs have columns of its own types
/// only, so nothing in them needs to be translated.
fn builtin_form(oid: u32) -> Form {
    match oid {
        // record, record[]
        2249 => Form::Record,
        2287 => Form::Array(2249),
        // regtype, regtype[], regclass, regclass[]
        2206 => Form::TypeOid,
        2211 => Form::Array(2206),
        2205 => Form::RelationOid,
        2210 => Form::Array(2205),
        // regproc, regprocedure, regoper, regoperator, regrole, regnamespace, regconfig, regdictionary, regcollation
        24 | 2202 | 2203 | 2204 | 4096 | 4089 | 3734 | 3769 | 4191 => Form::OtherOid,
        // Arrays of those.
        1008 | 2207 | 2208 | 2209 | 4097 | 4090 | 3735 | 3770 | 4192 => Form::Array(24),
        _ => Form::Plain,
    }
}

#[cfg(test)]
mod tests;
