//! Names of types by their OIDs.

use pg_query::NodeEnum;
use pg_query::protobuf::{Integer, Node, TypeCast, TypeName};

use super::schema::Schema;
use super::tree::string;
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

impl TypeNames {
    /// As SQL writes it.
    pub fn written(&self) -> String {
        let [namespace, name] = self.names.each_ref().map(|name| postgres_protocol::escape::escape_identifier(name));
        let array = if self.is_array && self.is_enum { "[]" } else { "" };
        format!("{namespace}.{name}{array}")
    }

    /// `value::type`, or an array of the type where `of_elements`.
    pub(super) fn cast(&self, value: Node, of_elements: bool) -> NodeEnum {
        let bound = || Node { node: Some(NodeEnum::Integer(Integer { ival: -1 })) };
        let array_bounds = if of_elements || self.is_array && self.is_enum { vec![bound()] } else { Vec::new() };
        let names = self.names.iter().map(|name| string(name)).collect();
        let type_name = Some(TypeName { names, typemod: -1, array_bounds, ..TypeName::default() });
        NodeEnum::TypeCast(Box::new(TypeCast { arg: Some(Box::new(value)), type_name, location: 0 }))
    }
}
