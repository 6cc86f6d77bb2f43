//! Names of types by their OIDs.

use pg_query::NodeEnum;
use pg_query::protobuf::{Integer, Node, TypeCast, TypeName};

use super::schema::Schema;
use super::tree::string;
use crate::wire::oids::FIRST_NORMAL_OID;

/// The type whose arrays have another delimiter than a comma.
pub(super) const BOX: u32 = 603;

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

impl TypeNames {
    /// As SQL writes it.
    pub fn written(&self) -> String {
        let names = self.unmistakable().iter().map(|name| postgres_protocol::escape::escape_identifier(name));
        let array = if self.is_array && self.is_enum { "[]" } else { "" };
        format!("{}{array}", names.collect::<Vec<_>>().join("."))
    }

    /// The names without those that the parser's writer mistakes: with its schema, it takes bpchar and bit for char and bit,
    /// which without a length is one of 1.
    fn unmistakable(&self) -> &[String] {
        let is_of_length = ["bpchar", "bit"].contains(&self.names[1].as_str()) && !self.is_enum;
        &self.names[usize::from(is_of_length)..]
    }

    /// `value::type`, or an array of the type where `of_elements`.
    pub(super) fn cast(&self, value: Node, of_elements: bool) -> NodeEnum {
        let bound = || Node { node: Some(NodeEnum::Integer(Integer { ival: -1 })) };
        let array_bounds = if of_elements || self.is_array && self.is_enum { vec![bound()] } else { Vec::new() };
        let names = self.unmistakable().iter().map(|name| string(name)).collect();
        let type_name = Some(TypeName { names, typemod: -1, array_bounds, ..TypeName::default() });
        NodeEnum::TypeCast(Box::new(TypeCast { arg: Some(Box::new(value)), type_name, location: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::tree::{select, target};

    #[test]
    fn a_cast_has_no_length_of_its_own() {
        let null =
            || Node { node: Some(NodeEnum::AConst(pg_query::protobuf::AConst { isnull: true, ..Default::default() })) };
        for (oid, one, several) in [
            (1042, "SELECT NULL::bpchar", "SELECT NULL::bpchar[]"),
            (1560, "SELECT NULL::\"bit\"", "SELECT NULL::\"bit\"[]"),
            (18, "SELECT NULL::pg_catalog.char", "SELECT NULL::pg_catalog.char[]"),
            (1043, "SELECT NULL::varchar", "SELECT NULL::varchar[]"),
        ] {
            let names = type_names(oid, &Schema::default()).unwrap();
            assert_eq!(select(vec![target("", Some(names.cast(null(), false)))]).unwrap(), one);
            assert_eq!(select(vec![target("", Some(names.cast(null(), true)))]).unwrap(), several);
        }
    }
}
