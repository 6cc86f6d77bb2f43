//! Mistakes in files, and the collection that they gather in while reading goes on.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something in a configuration file that must be put right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// `file:line: message (hint)`
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The mistakes found so far. Shared by every reader of every file of one configuration.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub fn push(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// In the order of files and lines, each once.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut mistakes = self.0.into_inner();
        mistakes.sort();
        mistakes.dedup();
        mistakes
    }
}

/// A file's path and text, and where its mistakes go.
pub(super) struct File<'m> {
    path: PathBuf,
    pub text: String,
    pub mistakes: &'m Mistakes,
}

impl<'m> File<'m> {
    pub fn new(path: &Path, text: String, mistakes: &'m Mistakes) -> Self {
        Self { path: path.to_owned(), text, mistakes }
    }

    /// A path given in this file, relative to the file's directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Records a mistake at a byte offset of the text.
    pub fn mistake(&self, offset: usize, message: impl Into<String>, hint: Option<String>) {
        let (line, column) = self.position(offset);
        self.mistakes.push(Mistake { file: self.path.clone(), line, column, message: message.into(), hint });
    }

    /// Line and column of a byte offset, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
