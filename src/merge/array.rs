//! A column of rows as an array of PostgreSQL, in the format in which the values came.

use bytes::{BufMut, BytesMut};

use super::oid;
use super::value::{cannot_merge, format};
use crate::types::Result;
use crate::wire::array::push_element;
use crate::wire::backend::Column;
use crate::wire::frontend::Format;

/// Values of one column, each kept in the format in which it came.
#[derive(Debug)]
pub struct Array {
    pub format: Format,
    /// The type of the array, in the home shard's numbers.
    pub type_oid: u32,
    element_oid: u32,
    count: u32,
    has_nulls: bool,
    elements: BytesMut,
}

impl Array {
    /// # Errors
    /// Refuses a type of which Weir knows no array.
    pub fn new(column: &Column, array_of_enum: &dyn Fn(u32) -> Option<u32>) -> Result<Self> {
        let type_oid = array_type(column.type_oid).or_else(|| array_of_enum(column.type_oid)).ok_or_else(|| {
            cannot_merge(format!("Values of the type with OID {} cannot be gathered.", column.type_oid))
        })?;
        let elements = BytesMut::new();
        Ok(Self {
            format: format(column)?,
            type_oid,
            element_oid: column.type_oid,
            count: 0,
            has_nulls: false,
            elements,
        })
    }

    pub fn push(&mut self, value: Option<&[u8]>) {
        self.has_nulls |= value.is_none();
        match self.format {
            Format::Text => push_element(&mut self.elements, value),
            Format::Binary => self.push_binary(value),
        }
        self.count += 1;
    }

    /// The array's value. `element_oid` turns the element's type into the number that the server knows.
    ///
    /// # Errors
    /// A type that the server does not have.
    pub fn value(&self, element_oid: &dyn Fn(u32) -> Result<u32>) -> Result<Vec<u8>> {
        let mut value = BytesMut::with_capacity(self.elements.len() + 20);
        match self.format {
            Format::Text => {
                value.put_u8(b'{');
                value.put_slice(&self.elements);
                value.put_u8(b'}');
            }
            Format::Binary => {
                value.put_u32(u32::from(self.count > 0));
                value.put_u32(u32::from(self.has_nulls));
                value.put_u32(element_oid(self.element_oid)?);
                if self.count > 0 {
                    value.put_u32(self.count);
                    value.put_u32(1);
                }
                value.put_slice(&self.elements);
            }
        }
        Ok(value.to_vec())
    }

    fn push_binary(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.elements.put_i32(-1),
            Some(bytes) => {
                self.elements.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                self.elements.put_slice(bytes);
            }
        }
    }
}

/// Whether values of a built-in type are ordered by a collation.
pub fn is_collatable(type_oid: u32) -> bool {
    matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME)
}

/// The array types of built-in types. Source: PostgreSQL's `pg_type` catalog.
fn array_type(type_oid: u32) -> Option<u32> {
    ARRAYS.iter().find(|(element, _)| *element == type_oid).map(|(_, array)| *array)
}

const ARRAYS: &[(u32, u32)] = &[
    (oid::BOOL, 1000),
    (oid::BYTEA, 1001),
    (oid::CHAR, 1002),
    (oid::NAME, 1003),
    (oid::INT2, 1005),
    (oid::INT4, 1007),
    (oid::TEXT, 1009),
    (oid::BPCHAR, 1014),
    (oid::VARCHAR, 1015),
    (oid::INT8, 1016),
    (oid::FLOAT4, 1021),
    (oid::FLOAT8, 1022),
    (oid::OID, 1028),
    (oid::TIMESTAMP, 1115),
    (oid::DATE, 1182),
    (oid::TIME, 1183),
    (oid::TIMESTAMPTZ, 1185),
    (oid::INTERVAL, 1187),
    (oid::NUMERIC, 1231),
    (oid::UUID, 2951),
    // money, cidr, inet, macaddr, json, jsonb, bit, varbit and timetz.
    (790, 791),
    (650, 651),
    (869, 1041),
    (829, 1040),
    (114, 199),
    (3802, 3807),
    (1560, 1561),
    (1562, 1563),
    (1266, 1270),
];
