//! Names of types by their OIDs.

use super::schema::Schema;
use crate::wire::oids::FIRST_NORMAL_OID;

/// A type's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeNames {
    /// Schema and name; those of the elements for an array of an enum.
    pub names: [String; 2],
    pub is_array: bool,
    pub is_enum: bool,
}

/// The name of a type that PostgreSQL brings with it, of an enum, or of an enum's arrays; `None` for any other.
pub fn type_names(oid: u32, schema: &Schema) -> Option<TypeNames> {
    if oid < FIRST_NORMAL_OID {
        let known = postgres_types::Type::from_oid(oid)?;
        let is_array = matches!(known.kind(), postgres_types::Kind::Array(_));
        let names = ["pg_catalog".to_owned(), known.name().to_owned()];
        return Some(TypeNames { names, is_array, is_enum: false });
    }
    let of_enum = schema.enums.get(&oid).map(|found| (found, false));
    let of_array =
        || schema.enum_of_array(oid).and_then(|element| schema.enums.get(&element)).map(|found| (found, true));
    let (found, is_array) = of_enum.or_else(of_array)?;
    Some(TypeNames { names: [found.schema.clone(), found.name.clone()], is_array, is_enum: true })
}
