//! What a server sends with OIDs of its own becomes what clients know.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::pass::Pass;
use super::{Asker, Entry, Ledger};
use crate::types::Result;
use crate::wire::backend::{self, tag};
use crate::wire::frame::HEADER_LEN;
use crate::wire::oids::Translation;

/// The columns of a result that have OIDs in their binary values: their places, ascending, and their types' OIDs on the
/// server.
pub type NumberedColumns = Arc<[(usize, u32)]>;

impl Ledger {
    /// How the server's OIDs stand for those that clients know; `None` where they are the same.
    pub fn translation(&self) -> Option<&Arc<Translation>> {
        self.translation.as_ref()
    }

    pub fn set_translation(&mut self, translation: Option<&Arc<Translation>>) {
        if self.translation.as_ref().map(Arc::as_ptr) != translation.map(Arc::as_ptr) {
            self.translation = translation.cloned();
        }
    }

    /// The body of a RowDescription or ParameterDescription in the numbers that clients know; `None` if it has those.
    pub fn translate_description(&self, tag: u8, body: &[u8]) -> Result<Option<Bytes>> {
        let Some(translation) = &self.translation else { return Ok(None) };
        if let Some(Entry::Query(Asker::Weir)) = self.entries.front() {
            return Ok(None);
        }
        let mut translated = BytesMut::from(body);
        match tag {
            tag::ROW_DESCRIPTION => translation.to_home().row_description(&mut translated)?,
            tag::PARAMETER_DESCRIPTION => translation.to_home().parameter_description(&mut translated)?,
            _ => return Ok(None),
        }
        Ok(Some(translated.freeze()))
    }

    /// Whether the rows that come next have OIDs in them.
    pub(super) fn gives_numbered_rows(&self) -> bool {
        self.translation.is_some() && matches!(self.entries.front(), Some(Entry::Execute(Some(_))))
    }

    /// Gives the client a row in the numbers that it knows.
    pub(super) fn numbered_row(&self, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        let (Some(translation), Some(Entry::Execute(Some(columns)))) = (&self.translation, self.entries.front()) else {
            pass.show(len, self.asker());
            return Ok(());
        };
        let mut result = Ok(());
        pass.show(len, Asker::Weir);
        pass.insert_with(|out| {
            let start = out.len() + HEADER_LEN;
            backend::message(out, tag::DATA_ROW, |row| row.extend_from_slice(body));
            result = translation.to_home().data_row(columns, &mut out[start..]);
        });
        result
    }
}
