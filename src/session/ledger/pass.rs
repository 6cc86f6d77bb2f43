//! Server bytes on their way to the client: as they are where possible, copied where something is left out or put in.

use std::ops::Range;

use bytes::BytesMut;

use super::Asker;

/// What reading a piece of the server's bytes came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes that were used up.
    pub consumed: usize,
    /// The part of the input that goes to the client as it is. When it is `None`, what goes to the client was
    /// appended to the output.
    pub verbatim: Option<Range<usize>>,
}

/// A walk over the server's bytes that copies only where something is left out or put in.
pub(super) struct Pass<'a> {
    pub input: &'a [u8],
    out: &'a mut BytesMut,
    /// Start of the stretch that is shown as it is and has not been copied yet.
    start: usize,
    pub at: usize,
    copied: bool,
}

impl<'a> Pass<'a> {
    pub fn new(input: &'a [u8], out: &'a mut BytesMut) -> Self {
        Self { input, out, start: 0, at: 0, copied: false }
    }

    /// Goes over the next `len` bytes, shown to the client or not.
    pub fn show(&mut self, len: usize, to: Asker) {
        match to {
            Asker::Client => self.at += len,
            Asker::Weir => {
                self.copy_stretch();
                self.at += len;
                self.start = self.at;
            }
        }
    }

    /// Puts in bytes that the server did not send.
    pub fn insert(&mut self, bytes: &[u8]) {
        self.insert_with(|out| out.extend_from_slice(bytes));
    }

    /// Puts in what `write` appends.
    pub fn insert_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.copy_stretch();
        write(self.out);
        self.copied = true;
    }

    fn copy_stretch(&mut self) {
        if self.start < self.at {
            self.out.extend_from_slice(&self.input[self.start..self.at]);
            self.copied = true;
            self.start = self.at;
        }
    }

    /// Says what became of the input so far.
    pub fn finish(mut self) -> Scanned {
        if self.copied {
            self.copy_stretch();
            return Scanned { consumed: self.at, verbatim: None };
        }
        Scanned { consumed: self.at, verbatim: Some(self.start..self.at) }
    }
}
