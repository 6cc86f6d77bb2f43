//! What a statement takes and gives, in a form that is kept for every statement and compared in no time.
//!
//! PostgreSQL promises a client that a prepared statement keeps its columns: where they would change it says `cached
//! plan must not change result type`. What counts there counts here: names, types and type modifiers, not the tables
//! that the columns come from.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use crate::types::Result;
use crate::wire::backend::{self, tag};
use crate::wire::reader::Reader;

/// The types of a statement's parameters and its columns, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    parameters: u64,
    /// `None` for a statement that gives no rows.
    columns: Option<u64>,
}

impl Shape {
    /// From the types of all parameters and the body of a RowDescription, if there is one.
    pub fn read(parameter_types: &[u32], columns: Option<&[u8]>) -> Result<Self> {
        let mut hash = Xxh3::new();
        parameter_types.iter().for_each(|oid| hash.update(&oid.to_be_bytes()));
        let columns = columns.map(hash_columns).transpose()?;
        Ok(Self { parameters: hash.digest(), columns })
    }

    pub fn gives_rows(&self) -> bool {
        self.columns.is_some()
    }
}

fn hash_columns(body: &[u8]) -> Result<u64> {
    let mut reader = Reader::new(body);
    let mut hash = Xxh3::new();
    for _ in 0..reader.count()? {
        hash.update(reader.cstr()?);
        hash.update(&[0]);
        let _table_and_attribute = reader.bytes(6)?;
        hash.update(reader.bytes(4)?);
        let _size = reader.bytes(2)?;
        hash.update(reader.bytes(4)?);
        let _format = reader.bytes(2)?;
    }
    Ok(hash.digest())
}

/// The types in the body of a ParameterDescription.
pub fn read_parameter_types(body: &[u8]) -> Result<Box<[u32]>> {
    let mut reader = Reader::new(body);
    (0..reader.count()?).map(|_| reader.u32()).collect()
}

/// The types of the columns in the body of a RowDescription.
pub fn read_column_types(body: &[u8]) -> Result<Box<[u32]>> {
    let mut reader = Reader::new(body);
    let count = reader.count()?;
    let type_of = |_| {
        reader.cstr()?;
        let _table_and_attribute = reader.bytes(6)?;
        let type_oid = reader.u32()?;
        let _size_modifier_format = reader.bytes(8)?;
        Ok(type_oid)
    };
    (0..count).map(type_of).collect()
}

/// What PostgreSQL says when a prepared statement would give other columns than before. Drivers know the error by its
/// routine, and prepare anew.
pub fn changed_result() -> Bytes {
    let fields = [
        (b'S', "ERROR"),
        (b'V', "ERROR"),
        (b'C', "0A000"),
        (b'M', "cached plan must not change result type"),
        (b'F', "plancache.c"),
        (b'R', "RevalidateCachedQuery"),
    ];
    let mut bytes = BytesMut::new();
    backend::message(&mut bytes, tag::ERROR_RESPONSE, |body| {
        for (code, text) in fields {
            body.put_u8(code);
            body.put_slice(text.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
    });
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::backend::{Column, row_description_body};

    fn column(name: &str) -> Column {
        Column {
            name: name.into(),
            table_oid: 1,
            attribute: 1,
            type_oid: 23,
            type_size: 4,
            type_modifier: -1,
            format: 0,
        }
    }

    fn shape(columns: &[Column]) -> Shape {
        Shape::read(&[], Some(&row_description_body(columns))).unwrap()
    }

    #[test]
    fn names_types_and_modifiers_count() {
        let plain = shape(&[column("a"), column("b")]);
        let same = [
            vec![column("a"), Column { table_oid: 9, attribute: 0, format: 1, ..column("b") }],
            vec![Column { table_oid: 0, ..column("a") }, column("b")],
        ];
        let others = [
            vec![column("a")],
            vec![column("a"), column("c")],
            vec![column("ab"), column("")],
            vec![column("a"), column("b"), column("c")],
            vec![column("a"), Column { type_oid: 25, ..column("b") }],
            vec![column("a"), Column { type_modifier: 8, ..column("b") }],
            vec![],
        ];
        same.iter().for_each(|columns| assert_eq!(shape(columns), plain, "{columns:?}"));
        others.iter().for_each(|columns| assert_ne!(shape(columns), plain, "{columns:?}"));
        assert_ne!(Shape::read(&[], None).unwrap(), shape(&[]));
        assert_ne!(Shape::read(&[23], None).unwrap(), Shape::read(&[25], None).unwrap());
    }

    #[test]
    fn a_description_that_is_cut_off_is_an_error() {
        let body = row_description_body(&[column("a")]);
        for len in 0..body.len() {
            assert!(Shape::read(&[], Some(&body[..len])).is_err(), "{len}");
        }
        assert!((0..body.len()).all(|len| read_column_types(&body[..len]).is_err()));
        assert_eq!(*read_column_types(&body).unwrap(), [23]);
        assert!(read_parameter_types(&[0, 1, 0, 0]).is_err());
        assert_eq!(*read_parameter_types(&[0, 1, 0, 0, 0, 23]).unwrap(), [23]);
    }
}
