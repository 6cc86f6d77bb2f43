//! What DECLARE, FETCH, MOVE and CLOSE say.

use pg_query::NodeEnum;
use pg_query::protobuf::FetchDirection;

use super::tree::{leading_comments, parse_one, written};
use crate::types::{Error, Result};

/// `CURSOR_OPT_*` of PostgreSQL's `parsenodes.h`.
mod option {
    pub const BINARY: i32 = 0x0001;
    pub const SCROLL: i32 = 0x0002;
    pub const NO_SCROLL: i32 = 0x0004;
    pub const HOLD: i32 = 0x0020;
}

/// A statement about cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorStatement {
    Declare {
        name: String,
        /// The SELECT whose rows it has; parameters keep their numbers.
        query: String,
        binary: bool,
        /// What the statement says of going back.
        scroll: Option<bool>,
        hold: bool,
    },
    Fetch {
        name: String,
        direction: Direction,
        /// MOVE: the rows are only counted.
        moves: bool,
    },
    /// `None`: all.
    Close { name: Option<String> },
}

/// Where a FETCH or MOVE goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// So many rows; `None`: all. Backward if negative; zero is the row at the position.
    Forward(Option<i64>),
    /// Likewise, the other way.
    Backward(Option<i64>),
    /// The row of this number, counted from the end if it is negative.
    Absolute(i64),
    /// The row so many behind the position.
    Relative(i64),
}

/// Reads such a statement.
///
/// # Errors
/// A text that is none, which would be a bug.
pub fn cursor_statement(text: &str) -> Result<CursorStatement> {
    match parse_one(text)? {
        NodeEnum::DeclareCursorStmt(declare) => {
            let has = |option: i32| declare.options & option != 0;
            let (binary, hold) = (has(option::BINARY), has(option::HOLD));
            let scroll = if has(option::SCROLL) { Some(true) } else { has(option::NO_SCROLL).then_some(false) };
            let query = declare.query.and_then(|query| query.node).ok_or_else(none)?;
            let query = format!("{}{}", leading_comments(text), written(query)?);
            Ok(CursorStatement::Declare { name: declare.portalname, query, binary, scroll, hold })
        }
        NodeEnum::FetchStmt(fetch) => {
            // The grammar's ALL is the largest number.
            let count = (fetch.how_many != i64::MAX).then_some(fetch.how_many);
            let direction = match fetch.direction() {
                FetchDirection::FetchForward => Direction::Forward(count),
                FetchDirection::FetchBackward => Direction::Backward(count),
                FetchDirection::FetchAbsolute => Direction::Absolute(fetch.how_many),
                FetchDirection::FetchRelative => Direction::Relative(fetch.how_many),
                FetchDirection::Undefined => return Err(none()),
            };
            Ok(CursorStatement::Fetch { name: fetch.portalname, direction, moves: fetch.ismove })
        }
        NodeEnum::ClosePortalStmt(close) => {
            Ok(CursorStatement::Close { name: (!close.portalname.is_empty()).then_some(close.portalname) })
        }
        _ => Err(none()),
    }
}

fn none() -> Error {
    Error::internal("a statement about cursors is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_say_what_they_mean() {
        let declared = |name: &str, query: &str, binary, scroll, hold| CursorStatement::Declare {
            name: name.into(),
            query: query.into(),
            binary,
            scroll,
            hold,
        };
        let fetch = |direction, moves| CursorStatement::Fetch { name: "c".into(), direction, moves };
        for (text, expected) in [
            ("DECLARE c CURSOR FOR SELECT $1", declared("c", "SELECT $1", false, None, false)),
            (
                "/* weir.shard = 'x' */ DECLARE \"C\" BINARY NO SCROLL CURSOR WITH HOLD FOR VALUES (1)",
                declared("C", "/* weir.shard = 'x' */VALUES (1)", true, Some(false), true),
            ),
            ("DECLARE c SCROLL CURSOR WITHOUT HOLD FOR SELECT 1", declared("c", "SELECT 1", false, Some(true), false)),
            ("FETCH c", fetch(Direction::Forward(Some(1)), false)),
            ("FETCH ALL FROM c", fetch(Direction::Forward(None), false)),
            ("MOVE BACKWARD ALL IN c", fetch(Direction::Backward(None), true)),
            ("FETCH PRIOR c", fetch(Direction::Backward(Some(1)), false)),
            ("FETCH -3 c", fetch(Direction::Forward(Some(-3)), false)),
            ("FETCH LAST c", fetch(Direction::Absolute(-1), false)),
            ("MOVE RELATIVE 0 c", fetch(Direction::Relative(0), true)),
            ("CLOSE c", CursorStatement::Close { name: Some("c".into()) }),
            ("CLOSE ALL", CursorStatement::Close { name: None }),
        ] {
            assert_eq!(cursor_statement(text).unwrap(), expected, "{text}");
        }
    }
}
