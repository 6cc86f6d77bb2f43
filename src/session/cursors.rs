//! SQL cursors of a session on a sharded database: their rows are all read when they are declared, as PostgreSQL's see them,
//! and kept here.
//!
//! Source of the rules: PostgreSQL's manual on DECLARE, FETCH and MOVE, and what its server does.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::sql::cursor::Direction;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// A cursor with its rows.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The body of its RowDescription, whose formats are those of the rows.
    pub columns: Bytes,
    /// The bodies of its DataRows.
    rows: Vec<Bytes>,
    /// 0 is in front of the first row, one more than their number behind the last.
    position: usize,
    pub kind: CursorKind,
    /// It was asked for what it cannot do, which PostgreSQL does not forget.
    broken: bool,
    /// How many savepoints its transaction had; `None` once the cursor is no part of a transaction.
    savepoints: Option<usize>,
}

/// What a declaration says of a cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorKind {
    /// BINARY.
    pub binary: bool,
    /// SCROLL, or NO SCROLL.
    pub scroll: Option<bool>,
    /// WITH HOLD.
    pub hold: bool,
}

/// All cursors of a session.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    by_name: BTreeMap<String, Cursor>,
    /// The shards whose servers have the portals of these names, in the open transaction.
    elsewhere: BTreeMap<String, ShardId>,
}

impl Cursor {
    /// A cursor in front of its first row. `savepoints`: how many its transaction has; `None` outside of a transaction.
    pub fn new(columns: Bytes, rows: Vec<Bytes>, kind: CursorKind, savepoints: Option<usize>) -> Self {
        Self { columns, rows, position: 0, kind, broken: false, savepoints }
    }

    /// Bytes that the rows take.
    pub fn size(&self) -> usize {
        self.rows.iter().map(|row| row.len() + size_of::<Bytes>()).sum()
    }

    /// Moves, and gives the rows on the way, in the order in which they are met.
    ///
    /// # Errors
    /// A cursor with NO SCROLL would have to go back, or had to.
    pub fn fetch(&mut self, direction: Direction) -> Result<Vec<Bytes>> {
        if self.broken {
            return Err(Error::new(Origin::Client, Kind::NotInPrerequisiteState, "the cursor cannot be run any more"));
        }
        let met = self.meet(direction);
        self.broken = met.is_err();
        met
    }

    fn meet(&mut self, direction: Direction) -> Result<Vec<Bytes>> {
        let end = self.rows.len() + 1;
        let here = self.position;
        let signed = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
        let bounded = |place: i64| usize::try_from(place).unwrap_or(0).min(end);
        let met: Vec<usize> = match direction {
            Direction::Forward(Some(0)) | Direction::Backward(Some(0)) | Direction::Relative(0) => {
                self.refuse_unless(here == 0 || here == end)?;
                vec![here]
            }
            Direction::Forward(Some(count)) if count < 0 => {
                return self.meet(Direction::Backward(count.checked_neg()));
            }
            Direction::Backward(Some(count)) if count < 0 => {
                return self.meet(Direction::Forward(count.checked_neg()));
            }
            Direction::Forward(count) => {
                self.position = count.map_or(end, |count| bounded(signed(here).saturating_add(count)));
                (here + 1..=self.position).collect()
            }
            Direction::Backward(count) => {
                self.refuse_unless(here == 0)?;
                self.position = count.map_or(0, |count| bounded(signed(here).saturating_sub(count)));
                (self.position..here).rev().collect()
            }
            Direction::Absolute(number) => {
                let target = if number < 0 { bounded(signed(end).saturating_add(number)) } else { bounded(number) };
                self.refuse_unless(number >= 0 && (target > here || here == 0))?;
                self.position = target;
                vec![target]
            }
            Direction::Relative(count) => {
                self.refuse_unless(count > 0 || here == 0)?;
                self.position = bounded(signed(here).saturating_add(count));
                vec![self.position]
            }
        };
        // Neither end is a row.
        let row = |place: usize| place.checked_sub(1).and_then(|place| self.rows.get(place)).cloned();
        Ok(met.into_iter().filter_map(row).collect())
    }

    fn refuse_unless(&self, goes_forward: bool) -> Result<()> {
        if goes_forward || self.kind.scroll != Some(false) {
            return Ok(());
        }
        Err(Error::new(Origin::Client, Kind::NotInPrerequisiteState, "cursor can only scan forward")
            .hint("Declare it with SCROLL option to enable backward scan."))
    }
}

impl Cursors {
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Bytes that all rows take.
    pub fn size(&self) -> usize {
        self.by_name.values().map(Cursor::size).sum()
    }

    /// # Errors
    /// There is one of this name.
    pub fn check_new(&self, name: &str) -> Result<()> {
        if self.contains(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Error::new(Origin::Client, Kind::DuplicateCursor, message));
        }
        Ok(())
    }

    pub fn add(&mut self, name: &str, cursor: Cursor) {
        self.by_name.insert(name.to_owned(), cursor);
    }

    /// # Errors
    /// There is none of this name.
    pub fn named(&mut self, name: &str) -> Result<&mut Cursor> {
        self.by_name.get_mut(name).ok_or_else(|| unknown(name))
    }

    /// # Errors
    /// There is none of this name.
    pub fn close(&mut self, name: &str) -> Result<()> {
        self.by_name.remove(name).map(drop).ok_or_else(|| unknown(name))
    }

    pub fn close_all(&mut self) {
        self.by_name.clear();
    }

    /// A server of this shard has the portal now.
    pub fn note_elsewhere(&mut self, name: &str, shard: ShardId) {
        self.elsewhere.insert(name.to_owned(), shard);
    }

    /// The shard whose server has the portal.
    pub fn elsewhere(&self, name: &str) -> Option<ShardId> {
        self.elsewhere.get(name).copied()
    }

    /// The transaction ended: what was declared in it stays if it is to, and the transaction is not undone.
    pub fn end_transaction(&mut self, committed: bool) {
        self.by_name.retain(|_, cursor| cursor.savepoints.is_none() || committed && cursor.kind.hold);
        self.by_name.values_mut().for_each(|cursor| cursor.savepoints = None);
        self.elsewhere.clear();
    }

    /// The transaction has only so many savepoints any more, the last of which it went back to: what was declared behind that
    /// is gone.
    pub fn roll_back_to(&mut self, savepoints: usize) {
        self.by_name.retain(|_, cursor| cursor.savepoints.is_none_or(|own| own < savepoints));
    }

    /// The transaction has only so many savepoints any more, and what was done behind the others stays.
    pub fn release(&mut self, savepoints: usize) {
        for cursor in self.by_name.values_mut() {
            cursor.savepoints = cursor.savepoints.map(|own| own.min(savepoints));
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::new(Origin::Client, Kind::UnknownCursor, format!("cursor \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Absolute, Backward, Forward, Relative};

    fn cursor(scroll: Option<bool>) -> Cursor {
        let rows = (b'1'..=b'4').map(|letter| Bytes::copy_from_slice(&[letter])).collect();
        Cursor::new(Bytes::new(), rows, CursorKind { scroll, ..CursorKind::default() }, Some(0))
    }

    fn fetched(cursor: &mut Cursor, direction: Direction) -> String {
        match cursor.fetch(direction) {
            Ok(rows) => rows.iter().map(|row| char::from(row[0])).collect(),
            Err(error) => format!("{:?}", error.kind),
        }
    }

    #[test]
    fn rows_are_met_as_in_postgresql() {
        let mut cursor = cursor(None);
        for (direction, expected) in [
            (Forward(Some(0)), ""),
            (Backward(Some(1)), ""),
            (Forward(Some(1)), "1"),
            (Forward(Some(2)), "23"),
            (Forward(Some(0)), "3"),
            (Relative(0), "3"),
            (Backward(Some(1)), "2"),
            (Forward(Some(-1)), "1"),
            (Backward(None), ""),
            (Forward(None), "1234"),
            (Forward(Some(1)), ""),
            (Backward(Some(1)), "4"),
            (Backward(None), "321"),
            (Absolute(3), "3"),
            (Absolute(-1), "4"),
            (Absolute(-4), "1"),
            (Absolute(9), ""),
            (Backward(Some(2)), "43"),
            (Absolute(0), ""),
            (Relative(2), "2"),
            (Relative(-1), "1"),
            (Relative(-1), ""),
            (Relative(7), ""),
            (Absolute(-9), ""),
            (Forward(Some(4)), "1234"),
            (Backward(Some(1)), "3"),
            (Backward(Some(i64::MIN)), "4"),
        ] {
            assert_eq!(fetched(&mut cursor, direction), expected, "{direction:?}");
        }
    }

    #[test]
    fn some_only_go_forward() {
        for (direction, expected) in [
            (Backward(Some(1)), "NotInPrerequisiteState"),
            (Relative(0), "NotInPrerequisiteState"),
            (Absolute(1), "NotInPrerequisiteState"),
            (Absolute(-1), "NotInPrerequisiteState"),
            (Absolute(4), "4"),
            (Forward(Some(1)), "3"),
        ] {
            let mut cursor = cursor(Some(false));
            fetched(&mut cursor, Forward(Some(2)));
            assert_eq!(fetched(&mut cursor, direction), expected, "{direction:?}");
            if expected.len() > 1 {
                assert_eq!(fetched(&mut cursor, Forward(None)), expected);
            }
        }
    }

    #[test]
    fn they_live_as_long_as_what_declared_them() {
        let kind = |hold| CursorKind { hold, ..CursorKind::default() };
        let declared = |hold, savepoints| Cursor { kind: kind(hold), savepoints, ..cursor(None) };
        let names = |cursors: &Cursors| cursors.by_name.keys().cloned().collect::<Vec<_>>().join("");
        let mut cursors = Cursors::default();
        for (name, hold, savepoints) in
            [("a", true, None), ("b", false, Some(0)), ("c", true, Some(1)), ("d", true, Some(2))]
        {
            cursors.add(name, declared(hold, savepoints));
        }
        assert_eq!(cursors.check_new("a").unwrap_err().kind, Kind::DuplicateCursor);
        let mut undone = cursors.clone();
        undone.roll_back_to(2);
        assert_eq!(names(&undone), "abc");
        undone.release(0);
        undone.roll_back_to(1);
        assert_eq!(names(&undone), "abc");
        undone.end_transaction(true);
        assert_eq!(names(&undone), "ac");
        undone.end_transaction(false);
        assert_eq!(names(&undone), "ac");
        cursors.end_transaction(false);
        assert_eq!(names(&cursors), "a");
        assert_eq!(cursors.close("b").unwrap_err().kind, Kind::UnknownCursor);
    }
}
