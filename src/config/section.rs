//! A TOML table being read: each key is asked for once, by name and type; what nobody asked for is a mistake.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::File;

/// What is wrong with a value, and what would be right.
#[derive(Debug)]
pub(super) struct Wrong {
    pub message: String,
    pub hint: Option<String>,
}

/// A value with the place where it stands, for checks that come later.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    /// Byte offset in the file.
    pub offset: usize,
}

/// A table of a file.
pub(super) struct Section<'t> {
    pub file: &'t File<'t>,
    /// `None`: the table is absent, which is as good as empty.
    table: Option<&'t DeTable<'t>>,
    /// Where the table begins, for keys that are missing.
    pub offset: usize,
    /// The table as the reader knows it, such as `[pool]`.
    name: String,
    asked: Vec<&'static str>,
}

impl Wrong {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The value has another TOML type.
    fn type_of(value: &DeValue<'_>, wanted: &str) -> Self {
        Self::new(format!("expected {wanted}, found {}", described(value)))
    }
}

impl<'t> Section<'t> {
    pub fn new(file: &'t File<'t>, table: &'t DeTable<'t>, span: Range<usize>, name: impl Into<String>) -> Self {
        Self { file, table: Some(table), offset: span.start, name: name.into(), asked: Vec::new() }
    }

    /// The value of a key, or `None` when it is absent or wrong (which is then recorded).
    pub fn take<T>(&mut self, key: &'static str, read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>) -> Option<T> {
        self.take_located(key, read).map(|located| located.value)
    }

    /// As [`Section::take`], with the place.
    pub fn take_located<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Located<T>> {
        let value = self.ask(key)?;
        let offset = value.span().start;
        match read(value.get_ref()) {
            Ok(value) => Some(Located { value, offset }),
            Err(wrong) => {
                self.file.mistake(offset, format!("{key}: {}", wrong.message), wrong.hint);
                None
            }
        }
    }

    /// As [`Section::take_located`], the key being required.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Located<T>> {
        if !self.has(key) {
            self.missing(key);
        }
        self.take_located(key, read)
    }

    /// The elements of a list (or a single value in its place); those that are wrong are recorded and left out.
    pub fn take_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<Located<T>>> {
        self.ask(key).map(|value| read_list(self.file, key, value, read))
    }

    /// A table below this one; empty when it is absent.
    pub fn take_section(&mut self, key: &'static str, name: &str) -> Section<'t> {
        let absent = Section { table: None, name: name.to_owned(), asked: Vec::new(), ..*self };
        self.ask(key).and_then(|value| section_of(self.file, value, name)).unwrap_or(absent)
    }

    /// The tables of a list of tables (`[[key]]`).
    pub fn take_sections(&mut self, key: &'static str, name: &str) -> Vec<Section<'t>> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(array) => array.iter().filter_map(|value| section_of(self.file, value, name)).collect(),
            other => {
                self.file.mistake(value.span().start, Wrong::type_of(other, "a list of tables").message, None);
                Vec::new()
            }
        }
    }

    /// Every key with its value, for tables whose keys are names that the user gives.
    pub fn entries(&self) -> impl Iterator<Item = (Located<&'t str>, &'t Spanned<DeValue<'t>>)> + use<'t> {
        self.table.into_iter().flat_map(|table| table.iter()).map(|(key, value)| {
            let located = Located { value: key.get_ref().as_ref(), offset: key.span().start };
            (located, value)
        })
    }

    /// Every key with the table behind it; what is no table is recorded. `name` makes the table's name from the key.
    pub fn named_sections(&self, name: impl Fn(&str) -> String) -> Vec<(Located<&'t str>, Section<'t>)> {
        self.entries()
            .filter_map(|(key, value)| {
                let mut section = section_of(self.file, value, &name(key.value))?;
                section.offset = key.offset;
                Some((key, section))
            })
            .collect()
    }

    pub fn is_list(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_array())
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn missing(&self, key: &str) {
        self.mistake(format!("{} lacks {key}", self.name));
    }

    /// A mistake of the table as a whole.
    pub fn mistake(&self, message: impl Into<String>) {
        self.file.mistake(self.offset, message, None);
    }

    /// Records every key that was never asked for.
    pub fn finish(self) {
        for (key, _) in self.entries().filter(|(key, _)| !self.asked.contains(&key.value)) {
            let hint = did_you_mean(key.value, self.asked.iter().copied());
            self.file.mistake(key.offset, format!("unknown setting {} in {}", key.value, self.name), hint);
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.get(key)
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table?.get(key)
    }
}

/// The elements of a list (or a single value in its place); those that are wrong are recorded and left out.
pub(super) fn read_list<T>(
    file: &File<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Vec<Located<T>> {
    let read_element = |element: &Spanned<DeValue<'_>>| {
        let offset = element.span().start;
        read(element.get_ref())
            .map(|value| Located { value, offset })
            .map_err(|wrong| file.mistake(offset, format!("{key}: {}", wrong.message), wrong.hint))
            .ok()
    };
    match value.get_ref() {
        DeValue::Array(array) => array.iter().filter_map(read_element).collect(),
        _ => read_element(value).into_iter().collect(),
    }
}

fn section_of<'t>(file: &'t File<'t>, value: &'t Spanned<DeValue<'t>>, name: &str) -> Option<Section<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(Section::new(file, table, value.span(), name)),
        other => {
            file.mistake(value.span().start, format!("{name}: {}", Wrong::type_of(other, "a table").message), None);
            None
        }
    }
}

/// A hint with the known name that is nearest to `given`, if one is near.
pub(super) fn did_you_mean<'n>(given: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    /// Jaro-Winkler similarity from which a name is likely a slip of the pen.
    const NEAR: f64 = 0.8;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| format!("did you mean {name}?"))
}

pub(super) fn string(value: &DeValue<'_>) -> Result<String, Wrong> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(Wrong::type_of(other, "a string")),
    }
}

/// A string that is not empty.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    match string(value)? {
        empty if empty.is_empty() => Err(Wrong::new("must not be empty")),
        name => Ok(name),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| Wrong::type_of(value, "true or false"))
}

/// A whole number from zero.
pub(super) fn count(value: &DeValue<'_>) -> Result<usize, Wrong> {
    let DeValue::Integer(integer) = value else { return Err(Wrong::type_of(value, "a number")) };
    usize::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| Wrong::new(format!("expected a number from zero, found {}", described(value))))
}

/// A whole number from one.
pub(super) fn positive(value: &DeValue<'_>) -> Result<usize, Wrong> {
    match count(value)? {
        0 => Err(Wrong::new("must be at least 1")),
        number => Ok(number),
    }
}

/// One of a list of words.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let given = string(value)?;
        let known = || words.iter().map(|(word, _)| *word);
        words.iter().find(|(word, _)| *word == given).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let all = known().collect::<Vec<_>>().join(", ");
            Wrong {
                message: format!("unknown value {given:?}, expected one of: {all}"),
                hint: did_you_mean(&given, known()),
            }
        })
    }
}

/// A value as a message shows it.
pub(super) fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", text.as_ref()),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => format!("the date {datetime}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
