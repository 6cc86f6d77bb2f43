//! Hash keyspaces: key value -> bucket -> shard.
//!
//! The bucket function is PostgreSQL's own, so that any server can compute a row's bucket:
//! `hash_record_extended(ROW(key, ...), 0) & (buckets - 1)`.

use super::key::{Decimal, KeyType, KeyValue, Shown};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Buckets of a keyspace that does not say how many it wants.
pub const BUCKETS_DEFAULT: usize = 4096;

/// The most buckets that a keyspace may have.
pub const BUCKETS_MAX: usize = 1 << 16;

/// The function from a key to 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// The extended hash of the row of the key's columns, with seed 0.
    #[default]
    Postgres,
    /// XXH3 (64 bits, seed 0) over the key as PostgreSQL prints it: integers in decimal digits, text as it is (UTF-8),
    /// uuids in lower case with hyphens. For data that an application has placed that way; no other key types, and one
    /// column only. No server can compute it.
    Xxh3,
}

impl HashFunction {
    /// The word for the function in a shard map file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Xxh3 => "xxh3",
        }
    }

    /// The function of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Postgres, Self::Xxh3].into_iter().find(|function| function.name() == name)
    }

    /// Whether the function is defined for keys of these types.
    pub fn is_defined_for(self, key: &[KeyType]) -> bool {
        match self {
            Self::Postgres => key.iter().all(|key_type| key_type.can_be_hashed()),
            Self::Xxh3 => {
                use KeyType::{Int2, Int4, Int8, Text, Uuid, Varchar};
                matches!(key, [Int2 | Int4 | Int8 | Text | Varchar | Uuid])
            }
        }
    }
}

/// The buckets of a hash keyspace and who owns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    function: HashFunction,
    /// The owner of each bucket; the length is a power of two.
    placement: Vec<ShardId>,
}

impl Hash {
    /// A keyspace of `placement.len()` buckets, each with its owner.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when the number of buckets is no power of two or larger than [`BUCKETS_MAX`].
    pub fn new(function: HashFunction, placement: Vec<ShardId>) -> Result<Self> {
        let buckets = placement.len();
        if !buckets.is_power_of_two() || buckets > BUCKETS_MAX {
            let message = format!("the number of buckets must be a power of two up to {BUCKETS_MAX}, not {buckets}");
            return Err(Error::new(Origin::Weir, Kind::InvalidValue, message));
        }
        Ok(Self { function, placement })
    }

    /// `buckets` buckets in contiguous parts of equal size (up to one bucket) over `shards`, in their order.
    ///
    /// # Errors
    /// As [`Hash::new`].
    pub fn even(function: HashFunction, buckets: usize, shards: &[ShardId]) -> Result<Self> {
        let placement = (0..buckets).filter_map(|bucket| shards.get(bucket * shards.len() / buckets)).copied();
        Self::new(function, placement.collect())
    }

    pub fn function(&self) -> HashFunction {
        self.function
    }

    /// The owner of each bucket.
    pub fn placement(&self) -> &[ShardId] {
        &self.placement
    }

    pub(super) fn for_each_shard(&mut self, change: &impl Fn(&mut ShardId)) {
        self.placement.iter_mut().for_each(change);
    }

    /// The owner of the key's bucket.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the function has no meaning for a key of these types.
    pub fn shard_of(&self, key: &[KeyValue<'_>]) -> Result<ShardId> {
        Ok(self.placement[self.bucket_of(key)?])
    }

    /// The key's bucket, less than the number of buckets.
    ///
    /// # Errors
    /// As [`Hash::shard_of`].
    pub fn bucket_of(&self, key: &[KeyValue<'_>]) -> Result<usize> {
        let hash = match self.function {
            HashFunction::Postgres => hash_extended(key),
            HashFunction::Xxh3 => {
                xxh3(key).ok_or_else(|| Error::internal(format!("xxh3 is not defined for the key {}", Shown(key))))?
            }
        };
        let mask = self.placement.len() as u64 - 1;
        Ok((hash & mask) as usize)
    }
}

/// PostgreSQL's extended hash of a row with seed 0: what `hash_record_extended(ROW(key, ...), 0)` returns.
///
/// Equal integers of different types hash alike, since the router compares them across types as PostgreSQL does.
pub fn hash_extended(key: &[KeyValue<'_>]) -> u64 {
    key.iter().fold(0, |hash: u64, value| hash.wrapping_mul(31).wrapping_add(hash_value(value)))
}

fn hash_value(value: &KeyValue<'_>) -> u64 {
    match value {
        KeyValue::Int(value) | KeyValue::Timestamp(value) => hash_int8(*value),
        KeyValue::Date(days) => hash_int8(i64::from(*days)),
        KeyValue::Text(text) | KeyValue::Label(text) => hash_bytes(text.as_bytes()),
        KeyValue::Uuid(bytes) => hash_bytes(bytes),
        KeyValue::Bytes(bytes) => hash_bytes(bytes),
        KeyValue::Numeric(value) => hash_numeric(value),
        KeyValue::Bool(value) => hash_uint32(u32::from(*value)),
    }
}

/// hash_numeric_extended: the digits to the base of 10000 as they lie in the memory of a little-endian server, and the
/// weight of the first. The sign does not count; zero and what is no number have values of their own.
fn hash_numeric(value: &Decimal) -> u64 {
    match value.digits() {
        None => 0,
        Some((_, [])) => u64::MAX,
        Some((weight, digits)) => {
            let bytes: Vec<u8> = digits.iter().flat_map(|digit| digit.to_le_bytes()).collect();
            hash_bytes(&bytes) ^ i64::from(weight).cast_unsigned()
        }
    }
}

fn xxh3(key: &[KeyValue<'_>]) -> Option<u64> {
    let hash = |bytes: &[u8]| Some(xxhash_rust::xxh3::xxh3_64(bytes));
    match key {
        [KeyValue::Text(text)] => hash(text.as_bytes()),
        [value @ (KeyValue::Int(_) | KeyValue::Uuid(_))] => hash(value.to_string().as_bytes()),
        _ => None,
    }
}

/// hashint8extended: the halves are folded so that a value that fits four bytes hashes as the int4 of that value.
fn hash_int8(value: i64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    hash_uint32(low ^ if value >= 0 { high } else { !high })
}

/// Bob Jenkins' lookup3 over one word.
fn hash_uint32(word: u32) -> u64 {
    let mut state = Lookup3::new(4);
    state.a = state.a.wrapping_add(word);
    state.finish()
}

/// Bob Jenkins' lookup3 over bytes, words read as little-endian.
fn hash_bytes(bytes: &[u8]) -> u64 {
    // A length past 4 GB cannot come from a message.
    let mut state = Lookup3::new(bytes.len() as u32);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state.absorb(block);
        state.mix();
    }
    state.absorb_tail(blocks.remainder());
    state.finish()
}

/// The three words of lookup3's state. Source: burtleburtle.net/bob/c/lookup3.c (public domain); PostgreSQL starts it
/// with its own constant, keeps the lowest byte of `c` free at the end for the length, and returns `b` and `c`.
struct Lookup3 {
    a: u32,
    b: u32,
    c: u32,
}

impl Lookup3 {
    fn new(length: u32) -> Self {
        let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
        Self { a: start, b: start, c: start }
    }

    fn absorb(&mut self, block: &[u8]) {
        self.a = self.a.wrapping_add(little_endian(&block[..4]));
        self.b = self.b.wrapping_add(little_endian(&block[4..8]));
        self.c = self.c.wrapping_add(little_endian(&block[8..]));
    }

    fn absorb_tail(&mut self, tail: &[u8]) {
        let part = |from: usize, to: usize| little_endian(&tail[from.min(tail.len())..to.min(tail.len())]);
        self.a = self.a.wrapping_add(part(0, 4));
        self.b = self.b.wrapping_add(part(4, 8));
        self.c = self.c.wrapping_add(part(8, 11) << 8);
    }

    fn mix(&mut self) {
        let Self { a, b, c } = self;
        mix_step(a, c, b, 4);
        mix_step(b, a, c, 6);
        mix_step(c, b, a, 8);
        mix_step(a, c, b, 16);
        mix_step(b, a, c, 19);
        mix_step(c, b, a, 4);
    }

    fn finish(self) -> u64 {
        let Self { mut a, mut b, mut c } = self;
        final_step(&mut c, b, 14);
        final_step(&mut a, c, 11);
        final_step(&mut b, a, 25);
        final_step(&mut c, b, 16);
        final_step(&mut a, c, 4);
        final_step(&mut b, a, 14);
        final_step(&mut c, b, 24);
        u64::from(b) << 32 | u64::from(c)
    }
}

fn mix_step(x: &mut u32, y: &mut u32, z: &u32, rotation: u32) {
    *x = x.wrapping_sub(*y) ^ y.rotate_left(rotation);
    *y = y.wrapping_add(*z);
}

fn final_step(x: &mut u32, y: u32, rotation: u32) {
    *x = (*x ^ y).wrapping_sub(y.rotate_left(rotation));
}

/// Up to four bytes as a number; missing ones are zero.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
