//! Combined rows that PostgreSQL itself finishes: where Weir cannot order or combine values exactly, or an expression
//! stands around an aggregate.
//!
//! The shards' rows are kept column by column and become arrays, the parameters of one statement that any server can
//! run: it unnests the arrays, combines the rows of equal groups, and evaluates what the client's own statement does with
//! the groups. Types, operators and collations are PostgreSQL's own then.

use std::fmt::Write;

use super::MergeOptions;
use super::array::{self, Array};
use super::row::Layout;
use super::spec::{Aggregate, ColumnRef, Combine, DistinctAggregate, MergeSpec, SortKey, Ties};
use super::value::cannot_merge;
use super::{memory::Memory, oid};
use crate::types::Result;
use crate::wire::backend::Column;

/// Rows of all shards on their way to the server that finishes them.
#[derive(Debug)]
pub struct Finish {
    layout: Layout,
    arrays: Vec<Array>,
    /// Types of the rows' columns.
    types: Vec<u32>,
    memory: Memory,
}

impl Finish {
    /// `array_of_enum` tells the array type of an enum.
    ///
    /// # Errors
    /// Refuses columns that cannot travel in arrays, and aggregates that cannot be combined from them.
    pub fn new(
        spec: &MergeSpec,
        columns: &[Column],
        array_of_enum: &dyn Fn(u32) -> Option<u32>,
        options: &MergeOptions,
    ) -> Result<Self> {
        let layout = Layout::new(spec, columns)?;
        let arrays = columns.iter().map(|column| Array::new(column, array_of_enum)).collect::<Result<_>>()?;
        let types: Vec<u32> = columns.iter().map(|column| column.type_oid).collect();
        if columns.is_empty() {
            return Err(cannot_merge("The rows have no columns."));
        }
        let finish = Self { layout, arrays, types, memory: Memory::new(options.memory_max) };
        finish.outputs(spec)?;
        Ok(finish)
    }

    /// Takes in one shard's row.
    ///
    /// # Errors
    /// The memory budget is used up, or the row does not fit its description.
    pub fn push(&mut self, row: &[u8]) -> Result<()> {
        self.memory.resize(0, row.len())?;
        let values = self.layout.read(row)?;
        self.arrays.iter_mut().zip(values).for_each(|(array, value)| array.push(value));
        Ok(())
    }

    /// The arrays, in the order of the rows' columns: parameters of the statement.
    pub fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The statement that finishes the rows, with the arrays as its parameters behind so many of the client's.
    ///
    /// # Errors
    /// As [`Finish::new`].
    pub fn statement(&self, spec: &MergeSpec, shard_text: &str, client_parameters: usize) -> Result<String> {
        let outputs = self.outputs(spec)?;
        let list: Vec<String> =
            outputs.iter().map(|output| format!("{} AS {}", output.expression, output.name)).collect();
        let rows_name = spec.outer.as_ref().map_or("weir_rows", |outer| &outer.rows_name);
        let mut text = format!("WITH {rows_name} AS (SELECT {} FROM ", list.join(", "));
        text += &self.source(shard_text, client_parameters);
        let groups: Vec<&str> =
            outputs.iter().filter(|output| output.is_grouped).map(|output| &*output.expression).collect();
        if !groups.is_empty() {
            let _infallible = write!(text, " GROUP BY {}", groups.join(", "));
        }
        text += ") ";
        match &spec.outer {
            Some(outer) => text += &outer.text,
            None => text += &self.plain_outer(spec, rows_name)?,
        }
        Ok(text)
    }

    /// The unnested arrays. Texts get the collations of the shards' own columns from a query that gives no row.
    fn source(&self, shard_text: &str, client_parameters: usize) -> String {
        let numbers = 1..=self.arrays.len();
        let arrays: Vec<String> = numbers.clone().map(|number| format!("${}", client_parameters + number)).collect();
        let names: Vec<String> = (0..self.arrays.len()).map(value_name).collect();
        let (arrays, names) = (arrays.join(", "), names.join(", "));
        if self.types.iter().any(|type_oid| array::is_collatable(*type_oid)) {
            format!(
                "(SELECT * FROM ({shard_text}) AS weir_types WHERE false UNION ALL SELECT * FROM unnest({arrays})) \
                 AS weir_values({names})"
            )
        } else {
            format!("unnest({arrays}) AS weir_values({names})")
        }
    }

    /// What the statement does where the client's own only orders and cuts.
    fn plain_outer(&self, spec: &MergeSpec, rows_name: &str) -> Result<String> {
        let visible: Vec<String> = (0..self.layout.visible).map(output_name).collect();
        let sort = spec.sort.iter().map(|key| self.sort_expression(key)).collect::<Result<Vec<_>>>()?;
        let mut text = "SELECT ".to_owned();
        if spec.distinct_keys > 0 {
            let _infallible = write!(text, "DISTINCT ON ({}) ", sort[..spec.distinct_keys.min(sort.len())].join(", "));
        }
        let _infallible = write!(text, "{} FROM {rows_name}", visible.join(", "));
        if !sort.is_empty() {
            let items: Vec<String> = sort.iter().zip(&spec.sort).map(|(item, key)| ordered(item, key)).collect();
            let _infallible = write!(text, " ORDER BY {}", items.join(", "));
        }
        if spec.offset > 0 {
            let _infallible = write!(text, " OFFSET {}", spec.offset);
        }
        if let Some(limit) = spec.limit {
            let ties = if spec.ties == Ties::Kept { "WITH TIES" } else { "ONLY" };
            let _infallible = write!(text, " FETCH FIRST {limit} ROWS {ties}");
        }
        Ok(text)
    }

    fn sort_expression(&self, key: &SortKey) -> Result<String> {
        let name = output_name(self.layout.place(key.column)?);
        Ok(key.collation.as_ref().map_or(name.clone(), |collation| format!("{name} COLLATE {collation}")))
    }

    /// The columns of the combined rows.
    fn outputs(&self, spec: &MergeSpec) -> Result<Vec<Output>> {
        let (groups, aggregates): (Vec<usize>, &[(ColumnRef, Aggregate)]) = match &spec.combine {
            Combine::Rows => return self.plain_outputs(spec),
            Combine::Distinct => ((0..self.layout.visible).collect(), &[]),
            Combine::Groups { group_columns, aggregates } => {
                let places = group_columns.iter().map(|column| self.layout.place(*column));
                (places.collect::<Result<_>>()?, aggregates)
            }
        };
        let mut outputs: Vec<Output> = groups.into_iter().map(|place| Output::of_value(place, true)).collect();
        for (column, aggregate) in aggregates {
            let place = self.layout.place(*column)?;
            let expression = self.combined(place, *aggregate)?;
            outputs.push(Output { name: output_name(place), expression, is_grouped: false });
        }
        named(outputs, spec)
    }

    /// Every row is kept, so every column is.
    fn plain_outputs(&self, spec: &MergeSpec) -> Result<Vec<Output>> {
        named((0..self.layout.total).map(|place| Output::of_value(place, false)).collect(), spec)
    }

    /// The expression that combines partial results.
    fn combined(&self, place: usize, aggregate: Aggregate) -> Result<String> {
        let value = value_name(place);
        Ok(match aggregate {
            Aggregate::Count => format!("coalesce(sum({value}), 0)::int8"),
            // The sum of integers that do not need a numeric.
            Aggregate::Sum if self.types[place] == oid::INT8 => format!("sum({value})::int8"),
            Aggregate::Sum => format!("sum({value})"),
            Aggregate::Min => format!("min({value})"),
            Aggregate::Max => format!("max({value})"),
            Aggregate::Average { sum, count } => self.average(self.layout.place(sum)?, self.layout.place(count)?)?,
            Aggregate::BoolAnd => format!("bool_and({value})"),
            Aggregate::BoolOr => format!("bool_or({value})"),
            Aggregate::BitAnd => format!("bit_and({value})"),
            Aggregate::BitOr => format!("bit_or({value})"),
            Aggregate::BitXor => format!("bit_xor({value})"),
            Aggregate::Distinct(DistinctAggregate::Count) => format!("count(DISTINCT {value})"),
            Aggregate::Distinct(DistinctAggregate::Sum) => format!("sum(DISTINCT {value})"),
            Aggregate::Distinct(DistinctAggregate::Average) => format!("avg(DISTINCT {value})"),
        })
    }

    /// avg() is the sum divided by the count, by the same division as that of PostgreSQL's own average.
    fn average(&self, sum: usize, count: usize) -> Result<String> {
        match self.types[sum] {
            oid::INT8 | oid::NUMERIC | oid::FLOAT8 | oid::INTERVAL => {
                Ok(format!("sum({}) / nullif(sum({}), 0)", value_name(sum), value_name(count)))
            }
            oid::FLOAT4 => Err(cannot_merge("avg() of real has more digits than the shards' sums.")
                .hint("Cast the argument to double precision.")),
            other => Err(cannot_merge(format!("avg() over a sum of the type with OID {other} cannot be combined."))),
        }
    }
}

/// One column of the combined rows.
#[derive(Debug)]
struct Output {
    name: String,
    expression: String,
    is_grouped: bool,
}

impl Output {
    fn of_value(place: usize, is_grouped: bool) -> Self {
        Self { name: output_name(place), expression: value_name(place), is_grouped }
    }
}

/// The outputs under the names that the outer statement knows.
fn named(mut outputs: Vec<Output>, spec: &MergeSpec) -> Result<Vec<Output>> {
    if let Some(outer) = &spec.outer {
        if outer.columns.len() != outputs.len() {
            return Err(crate::types::Error::internal("a plan's outer statement has other columns than its rows"));
        }
        outputs.iter_mut().zip(&outer.columns).for_each(|(output, name)| output.name.clone_from(name));
    }
    Ok(outputs)
}

fn ordered(expression: &str, key: &SortKey) -> String {
    let direction = if key.descending { "DESC" } else { "ASC" };
    let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
    format!("{expression} {direction} NULLS {nulls}")
}

fn value_name(place: usize) -> String {
    format!("v{place}")
}

fn output_name(place: usize) -> String {
    format!("c{place}")
}
