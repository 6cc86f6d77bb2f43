//! Rows of several shards become one result, for the closed list of cases where that is provably what one PostgreSQL
//! would give. Pure: rows in, rows out; memory is budgeted.

pub mod spec;
