//! Partial results of one aggregate over several shards become the whole.

use std::cmp::Ordering;

use super::numeric::Numeric;
use super::oid;
use super::order::text_column;
use super::row::Layout;
use super::spec::{Aggregate, ColumnRef};
use super::value::{TextFidelity, Value, ValueType, cannot_merge};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::backend::Column;

/// One aggregate whose types are known to combine exactly.
#[derive(Debug)]
pub struct Combination {
    /// Where the result stands in the row.
    pub place: usize,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// A sum of bigints that is zero over nothing.
    Count {
        place: usize,
    },
    SumInteger {
        place: usize,
    },
    SumNumeric {
        place: usize,
    },
    /// The value that compares as `wanted` with all others: `Less` for min(), `Greater` for max().
    Extreme {
        place: usize,
        value_type: ValueType,
        wanted: Ordering,
    },
    Average {
        sum: usize,
        count: usize,
    },
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
        let type_oid = text_column(&columns[place])?;
        let extreme = |wanted| {
            let value_type = ValueType::ordered(type_oid, false, fidelity)?;
            Ok(Rule::Extreme { place, value_type, wanted })
        };
        let rule = match aggregate {
            Aggregate::Count => Rule::Count { place },
            Aggregate::Sum => sum_rule(place, type_oid)?,
            Aggregate::Min => extreme(Ordering::Less)?,
            Aggregate::Max => extreme(Ordering::Greater)?,
            Aggregate::Average { sum, count } => average_rule(type_oid, layout.place(sum)?, layout.place(count)?)?,
        };
        Ok(Self { place, rule })
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
            (Rule::Count { place } | Rule::SumInteger { place }, Accumulator::Integer(total)) => {
                if let Some(part) = row[*place] {
                    *total = Some(add_integers(total.unwrap_or(0), read_integer(part)?)?);
                }
            }
            (Rule::SumNumeric { place }, Accumulator::Numeric(total)) => add_numeric(total, row[*place])?,
            (Rule::Extreme { place, value_type, wanted }, Accumulator::Extreme(best)) => {
                if let Some(text) = row[*place] {
                    let value = value_type.read(text)?;
                    if best.as_ref().is_none_or(|(old, _)| value.cmp(old) == *wanted) {
                        *best = Some((value, text.into()));
                    }
                }
            }
            (Rule::Average { sum, count }, Accumulator::Average { sum: total, count: rows }) => {
                add_numeric(total, row[*sum])?;
                let part = row[*count].map(read_integer).transpose()?;
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
    /// The result in text format; `None` for NULL.
    pub fn finish(&self) -> Option<Vec<u8>> {
        match self {
            Self::Integer(total) => total.map(|total| total.to_string().into_bytes()),
            Self::Numeric(total) => total.as_ref().map(|total| total.to_string().into_bytes()),
            Self::Extreme(best) => best.as_ref().map(|(_, text)| text.to_vec()),
            Self::Average { count: 0, .. } => None,
            Self::Average { sum, count } => sum.as_ref().map(|sum| sum.average(*count).to_string().into_bytes()),
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

fn sum_rule(place: usize, type_oid: u32) -> Result<Rule> {
    match type_oid {
        oid::INT8 => Ok(Rule::SumInteger { place }),
        oid::NUMERIC => Ok(Rule::SumNumeric { place }),
        other => Err(inexact("sum", other)),
    }
}

/// avg() of integers and numerics is a numeric; avg() of anything else is not.
fn average_rule(type_oid: u32, sum: usize, count: usize) -> Result<Rule> {
    match type_oid {
        oid::NUMERIC => Ok(Rule::Average { sum, count }),
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

fn read_integer(text: &[u8]) -> Result<i64> {
    match ValueType::Integer.read(text)? {
        Value::Integer(value) => Ok(value),
        Value::Float(_) | Value::Numeric(_) | Value::Bytes(_) => {
            Err(Error::internal("an integer was read as another type"))
        }
    }
}

fn add_integers(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b).ok_or_else(|| Error::new(Origin::Client, Kind::OutOfRange, "bigint out of range"))
}

/// Adds a partial sum, an integer or a numeric by its text.
fn add_numeric(total: &mut Option<Numeric>, part: Option<&[u8]>) -> Result<()> {
    if let Some(text) = part {
        let part = Numeric::parse(text).ok_or_else(|| Error::internal("a partial sum is not a number"))?;
        *total = Some(match total {
            Some(total) => total.plus(&part),
            None => part,
        });
    }
    Ok(())
}
