//! Partial results of one aggregate over several shards become the whole.

use std::cmp::Ordering;

use super::binary;
use super::numeric::Numeric;
use super::oid;
use super::row::Layout;
use super::spec::{Aggregate, ColumnRef};
use super::value::{self, Codec, TextFidelity, Value, cannot_merge};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::backend::Column;
use crate::wire::frontend::Format;

/// One aggregate whose types are known to combine exactly.
#[derive(Debug)]
pub struct Combination {
    /// Where the result stands in the row.
    pub place: usize,
    /// The format that the result has to be in.
    pub format: Format,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// A sum of bigints that is zero over nothing.
    Count {
        place: usize,
        part: Number,
    },
    SumInteger {
        place: usize,
        part: Number,
    },
    SumNumeric {
        place: usize,
        part: Number,
    },
    /// The value that compares as `wanted` with all others: `Less` for min(), `Greater` for max().
    Extreme {
        place: usize,
        codec: Codec,
        wanted: Ordering,
    },
    Average {
        sum: usize,
        sum_part: Number,
        count: usize,
        count_part: Number,
    },
}

/// How a partial count or sum, an integer or a numeric, is read.
#[derive(Clone, Copy, Debug)]
enum Number {
    Text,
    Integer,
    Numeric,
}

impl Combination {
    /// # Errors
    /// Refuses an aggregate over types for which the partial results do not determine the whole exactly.
    pub fn new(
        column: ColumnRef,
        aggregate: Aggregate,
        layout: Layout,
        columns: &[Column],
        fidelity: TextFidelity,
    ) -> Result<Self> {
        let place = layout.place(column)?;
        let column = &columns[place];
        let extreme = |wanted| Ok(Rule::Extreme { place, codec: Codec::ordered(column, false, fidelity)?, wanted });
        let part = || Number::new(column);
        let rule = match aggregate {
            Aggregate::Count => Rule::Count { place, part: part()? },
            Aggregate::Sum => sum_rule(place, column)?,
            // False orders before true.
            Aggregate::Min | Aggregate::BoolAnd => extreme(Ordering::Less)?,
            Aggregate::Max | Aggregate::BoolOr => extreme(Ordering::Greater)?,
            Aggregate::BitAnd | Aggregate::BitOr | Aggregate::BitXor | Aggregate::Distinct(_) => {
                return Err(cannot_merge("Only PostgreSQL itself combines bits, and aggregates of distinct values."));
            }
            Aggregate::Average { sum, count } => {
                average_rule(column, (layout.place(sum)?, layout.place(count)?), columns)?
            }
        };
        Ok(Self { place, format: value::format(column)?, rule })
    }

    /// The state before any row.
    pub fn start(&self) -> Accumulator {
        match self.rule {
            Rule::Count { .. } => Accumulator::Integer(Some(0)),
            Rule::SumInteger { .. } => Accumulator::Integer(None),
            Rule::SumNumeric { .. } => Accumulator::Numeric(None),
            Rule::Extreme { .. } => Accumulator::Extreme(None),
            Rule::Average { .. } => Accumulator::Average { sum: None, count: 0 },
        }
    }

    /// Takes one shard's partial result in. A NULL partial (no row with a value) changes nothing.
    ///
    /// # Errors
    /// A sum that leaves the range of bigint, and a text that is no value of the column's type.
    pub fn add(&self, accumulator: &mut Accumulator, row: &[Option<&[u8]>]) -> Result<()> {
        match (&self.rule, accumulator) {
            (Rule::Count { place, part } | Rule::SumInteger { place, part }, Accumulator::Integer(total)) => {
                if let Some(bytes) = row[*place] {
                    *total = Some(add_integers(total.unwrap_or(0), part.read_integer(bytes)?)?);
                }
            }
            (Rule::SumNumeric { place, part }, Accumulator::Numeric(total)) => add_numeric(total, *part, row[*place])?,
            (Rule::Extreme { place, codec, wanted }, Accumulator::Extreme(best)) => {
                if let Some(text) = row[*place] {
                    let value = codec.read(text)?;
                    if best.as_ref().is_none_or(|(old, _)| value.cmp(old) == *wanted) {
                        *best = Some((value, text.into()));
                    }
                }
            }
            (Rule::Average { sum, sum_part, count, count_part }, Accumulator::Average { sum: total, count: rows }) => {
                add_numeric(total, *sum_part, row[*sum])?;
                let part = row[*count].map(|bytes| count_part.read_integer(bytes)).transpose()?;
                *rows = add_integers(*rows, part.unwrap_or(0))?;
            }
            _ => return Err(Error::internal("an aggregate's state does not belong to it")),
        }
        Ok(())
    }
}

/// What is known of an aggregate so far.
#[derive(Debug)]
pub enum Accumulator {
    Integer(Option<i64>),
    Numeric(Option<Numeric>),
    Extreme(Option<(Value, Box<[u8]>)>),
    Average { sum: Option<Numeric>, count: i64 },
}

impl Accumulator {
    /// The result; `None` for NULL.
    pub fn finish(&self, format: Format) -> Option<Vec<u8>> {
        let numeric = |value: &Numeric| match format {
            Format::Text => value.to_string().into_bytes(),
            Format::Binary => binary::write_numeric(value),
        };
        match self {
            Self::Integer(total) => total.map(|total| match format {
                Format::Text => total.to_string().into_bytes(),
                Format::Binary => total.to_be_bytes().to_vec(),
            }),
            Self::Numeric(total) => total.as_ref().map(numeric),
            Self::Extreme(best) => best.as_ref().map(|(_, value)| value.to_vec()),
            Self::Average { count: 0, .. } => None,
            Self::Average { sum, count } => sum.as_ref().map(|sum| numeric(&sum.average(*count))),
        }
    }

    /// An estimate of the bytes that the state occupies on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Integer(_) => 0,
            Self::Numeric(sum) | Self::Average { sum, .. } => sum.as_ref().map_or(0, Numeric::heap_bytes),
            Self::Extreme(best) => best.as_ref().map_or(0, |(value, text)| value.heap_bytes() + text.len()),
        }
    }
}

impl Number {
    fn new(column: &Column) -> Result<Self> {
        match (value::format(column)?, column.type_oid) {
            (Format::Text, _) => Ok(Self::Text),
            (Format::Binary, oid::NUMERIC) => Ok(Self::Numeric),
            (Format::Binary, oid::INT8) => Ok(Self::Integer),
            (Format::Binary, other) => Err(inexact("sum", other)),
        }
    }

    fn read_integer(self, bytes: &[u8]) -> Result<i64> {
        let value = match self {
            Self::Text => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            Self::Integer => binary::integer(bytes),
            Self::Numeric => None,
        };
        value.ok_or_else(|| Error::internal("a partial count or sum is not an integer"))
    }

    fn read_numeric(self, bytes: &[u8]) -> Result<Numeric> {
        let value = match self {
            Self::Text => Numeric::parse(bytes),
            Self::Integer => binary::integer(bytes).map(Numeric::from),
            Self::Numeric => binary::read_numeric(bytes),
        };
        value.ok_or_else(|| Error::internal("a partial sum is not a number"))
    }
}

fn sum_rule(place: usize, column: &Column) -> Result<Rule> {
    let part = Number::new(column);
    match column.type_oid {
        oid::INT8 => Ok(Rule::SumInteger { place, part: part? }),
        oid::NUMERIC => Ok(Rule::SumNumeric { place, part: part? }),
        other => Err(inexact("sum", other)),
    }
}

/// avg() of integers and numerics is a numeric; avg() of anything else is not.
fn average_rule(average: &Column, (sum, count): (usize, usize), columns: &[Column]) -> Result<Rule> {
    match average.type_oid {
        oid::NUMERIC => {
            let (sum_part, count_part) = (Number::new(&columns[sum])?, Number::new(&columns[count])?);
            Ok(Rule::Average { sum, sum_part, count, count_part })
        }
        other => Err(inexact("avg", other)),
    }
}

fn inexact(function: &str, type_oid: u32) -> Error {
    match type_oid {
        oid::FLOAT4 | oid::FLOAT8 => cannot_merge(format!(
            "{function}() of floating-point values depends on the order in which one server would add them."
        ))
        .hint("Cast the argument to numeric."),
        other => cannot_merge(format!("{function}() with a result of the type with OID {other} cannot be combined.")),
    }
}

fn add_integers(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b).ok_or_else(|| Error::new(Origin::Client, Kind::OutOfRange, "bigint out of range"))
}

/// Adds a partial sum, an integer or a numeric.
fn add_numeric(total: &mut Option<Numeric>, part: Number, bytes: Option<&[u8]>) -> Result<()> {
    if let Some(bytes) = bytes {
        let part = part.read_numeric(bytes)?;
        *total = Some(match total {
            Some(total) => total.plus(&part),
            None => part,
        });
    }
    Ok(())
}
