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

/// The lowest object id that is not PostgreSQL's own: `FirstNormalObjectId` of its sources.
const FIRST_NORMAL_OID: u32 = 16384;

/// How object ids of a database's servers compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oids {
    /// All servers have the same: they are one primary and its replicas.
    #[default]
    Same,
    /// Each shard has its own for types that users made.
    PerShard,
}

impl Oids {
    /// Whether the id means the same on all servers.
    pub fn are_portable(self, oid: u32) -> bool {
        self == Self::Same || oid < FIRST_NORMAL_OID
    }

    /// What stands for the id in comparisons.
    fn comparable(self, oid: u32) -> u32 {
        if self.are_portable(oid) { oid } else { FIRST_NORMAL_OID }
    }
}

/// The types of a statement's parameters and its columns, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    parameters: u64,
    /// `None` for a statement that gives no rows.
    columns: Option<u64>,
}

impl Shape {
    /// From the types of all parameters and the body of a RowDescription, if there is one.
    pub fn read(parameter_types: &[u32], columns: Option<&[u8]>, oids: Oids) -> Result<Self> {
        let mut hash = Xxh3::new();
        parameter_types.iter().for_each(|oid| hash.update(&oids.comparable(*oid).to_be_bytes()));
        let columns = columns.map(|body| hash_columns(body, oids)).transpose()?;
        Ok(Self { parameters: hash.digest(), columns })
    }

    pub fn gives_rows(&self) -> bool {
        self.columns.is_some()
    }
}

fn hash_columns(body: &[u8], oids: Oids) -> Result<u64> {
    let mut reader = Reader::new(body);
    let mut hash = Xxh3::new();
    for _ in 0..reader.count()? {
        hash.update(reader.cstr()?);
        hash.update(&[0]);
        let _table_and_attribute = reader.bytes(6)?;
        hash.update(&oids.comparable(reader.u32()?).to_be_bytes());
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

    fn shape(columns: &[Column], oids: Oids) -> Shape {
        Shape::read(&[], Some(&row_description_body(columns)), oids).unwrap()
    }

    #[test]
    fn names_types_and_modifiers_count() {
        let plain = shape(&[column("a"), column("b")], Oids::Same);
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
        same.iter().for_each(|columns| assert_eq!(shape(columns, Oids::Same), plain, "{columns:?}"));
        others.iter().for_each(|columns| assert_ne!(shape(columns, Oids::Same), plain, "{columns:?}"));
        assert_ne!(Shape::read(&[], None, Oids::Same).unwrap(), shape(&[], Oids::Same));
        assert_ne!(Shape::read(&[23], None, Oids::Same).unwrap(), Shape::read(&[25], None, Oids::Same).unwrap());
    }

    #[test]
    fn types_of_users_have_other_ids_on_other_shards() {
        let made = |oid| [Column { type_oid: oid, ..column("mood") }];
        assert_ne!(shape(&made(16400), Oids::Same), shape(&made(16500), Oids::Same));
        assert_eq!(shape(&made(16400), Oids::PerShard), shape(&made(16500), Oids::PerShard));
        assert_ne!(shape(&made(16400), Oids::PerShard), shape(&made(23), Oids::PerShard));
        let parameters = |oid| Shape::read(&[oid], None, Oids::PerShard).unwrap();
        assert_eq!(parameters(16400), parameters(16500));
    }

    #[test]
    fn a_description_that_is_cut_off_is_an_error() {
        let body = row_description_body(&[column("a")]);
        for len in 0..body.len() {
            assert!(Shape::read(&[], Some(&body[..len]), Oids::Same).is_err(), "{len}");
        }
        assert!(read_parameter_types(&[0, 1, 0, 0]).is_err());
        assert_eq!(*read_parameter_types(&[0, 1, 0, 0, 0, 23]).unwrap(), [23]);
    }
}
