//! COPY: how its data is written. Options are literals, which facts do not hold, so this is read from the text.

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, DefElem, Node, a_const};

use super::{inner, strings};
use crate::sql::tree::{parse_one, string, written};
use crate::types::{Error, Result};
use crate::wire::copy::CopyFormat;

/// What a COPY FROM STDIN says of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyData {
    /// The table's name, without its schema.
    pub table: String,
    /// The columns of each row; `None` when the statement lists none.
    pub columns: Option<Vec<String>>,
    pub format: CopyFormat,
    /// The first line is no row.
    pub header: bool,
    /// It must name the columns.
    pub header_names: bool,
}

/// The options of a COPY, as far as they say how rows and fields are told apart.
#[derive(Default)]
struct Options {
    format: Option<String>,
    header: bool,
    header_names: bool,
    delimiter: Option<String>,
    null: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
}

/// Reads the text of one COPY FROM STDIN.
///
/// # Errors
/// [`crate::types::Kind::NotSupported`] for options under which rows or fields would be read otherwise than here.
pub fn copy_data(text: &str) -> Result<CopyData> {
    let copy = &parse_copy(text)?;
    let options = options(copy)?;
    let columns: Vec<String> = strings(&copy.attlist).into_iter().map(str::to_owned).collect();
    let columns = (!columns.is_empty()).then_some(columns);
    let table = copy.relation.as_ref().map(|relation| relation.relname.clone()).unwrap_or_default();
    let (header, header_names) = (options.header, options.header_names);
    Ok(CopyData { table, columns, header, header_names, format: options.into_format()? })
}

/// The text of a COPY whose data has these columns, too.
///
/// # Errors
/// As [`copy_data`].
pub fn with_columns<'n>(text: &str, added: impl Iterator<Item = &'n str>) -> Result<String> {
    let mut copy = parse_copy(text)?;
    copy.attlist.extend(added.map(string));
    written(NodeEnum::CopyStmt(Box::new(copy)))
}

/// A COPY TO STDOUT.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyOut {
    statement: CopyStmt,
    /// The SELECT whose rows are copied; `None` for those of a table.
    pub query: Option<String>,
    pub is_binary: bool,
    /// The first line is no row.
    pub header: bool,
}

impl CopyOut {
    /// The statement with another SELECT.
    ///
    /// # Errors
    /// A text that is no SELECT, which would be a bug.
    pub fn with_query(&self, select: &str) -> Result<String> {
        let query = Some(Box::new(Node { node: Some(parse_one(select)?) }));
        let statement = CopyStmt { query, ..self.statement.clone() };
        written(NodeEnum::CopyStmt(Box::new(statement)))
    }
}

/// Reads the text of one COPY TO STDOUT.
///
/// # Errors
/// [`crate::types::Kind::NotSupported`] for COPY to a file or program of the server.
pub fn copy_out(text: &str) -> Result<CopyOut> {
    let statement = parse_copy(text)?;
    if statement.is_program || !statement.filename.is_empty() {
        return Err(unclear("of a file or program"));
    }
    let query = statement.query.clone().and_then(|query| query.node).map(written).transpose()?;
    let named = |name: &str| {
        let options = statement.options.iter().filter_map(inner);
        options.rev().find_map(|option| match option {
            NodeEnum::DefElem(option) if option.defname == name => Some(option),
            _ => None,
        })
    };
    let is_binary = named("format").and_then(|option| text_of(option)).as_deref() == Some("binary");
    let header = named("header").is_some_and(|option| is_on(option));
    Ok(CopyOut { query, is_binary, header, statement })
}

fn parse_copy(text: &str) -> Result<CopyStmt> {
    match parse_one(text)? {
        NodeEnum::CopyStmt(copy) => Ok(*copy),
        _ => Err(Error::internal("a COPY that is none")),
    }
}

fn options(copy: &CopyStmt) -> Result<Options> {
    let mut options = Options::default();
    for option in &copy.options {
        let Some(NodeEnum::DefElem(option)) = inner(option) else { return Err(unclear("an option that is none")) };
        let value = || text_of(option).ok_or_else(|| unclear(&option.defname));
        match option.defname.as_str() {
            "format" => options.format = Some(value()?),
            "header" => {
                options.header = is_on(option);
                options.header_names = text_of(option).is_some_and(|word| word.eq_ignore_ascii_case("match"));
            }
            "delimiter" => options.delimiter = Some(value()?),
            "null" => options.null = Some(value()?),
            "quote" => options.quote = Some(value()?),
            "escape" => options.escape = Some(value()?),
            // They do not change what rows and fields are.
            "freeze" | "on_error" | "log_verbosity" | "reject_limit" => {}
            other => return Err(unclear(other)),
        }
    }
    Ok(options)
}

impl Options {
    fn into_format(self) -> Result<CopyFormat> {
        let Self { format, delimiter, null, quote, escape, .. } = self;
        let null = |default: &str| null.clone().unwrap_or_else(|| default.to_owned()).into_bytes();
        Ok(match format.as_deref() {
            None | Some("text") => {
                CopyFormat::Text { delimiter: byte("delimiter", delimiter, b'\t')?, null: null("\\N") }
            }
            Some("csv") => {
                let quote = byte("quote", quote, b'"')?;
                let escape = byte("escape", escape, quote)?;
                CopyFormat::Csv { delimiter: byte("delimiter", delimiter, b',')?, null: null(""), quote, escape }
            }
            Some("binary") => CopyFormat::Binary,
            Some(_) => return Err(unclear("format")),
        })
    }
}

/// The one byte that an option must have; PostgreSQL refuses others itself, but reads the data later.
fn byte(option: &str, value: Option<String>, default: u8) -> Result<u8> {
    match value.as_deref().map(str::as_bytes) {
        None => Ok(default),
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        Some(_) => Err(unclear(option)),
    }
}

fn text_of(option: &DefElem) -> Option<String> {
    match option.arg.as_deref().and_then(inner)? {
        NodeEnum::String(string) => Some(string.sval.clone()),
        _ => None,
    }
}

/// Whether a header is announced: by the bare word, `true`, `on`, a number other than 0, or `match`.
fn is_on(option: &DefElem) -> bool {
    match option.arg.as_deref().and_then(inner) {
        None => true,
        Some(NodeEnum::Boolean(value)) => value.boolval,
        Some(NodeEnum::Integer(value)) => value.ival != 0,
        Some(NodeEnum::String(word)) => !["false", "off"].iter().any(|off| word.sval.eq_ignore_ascii_case(off)),
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Boolval(value)) => value.boolval,
            Some(a_const::Val::Ival(value)) => value.ival != 0,
            _ => true,
        },
        Some(_) => true,
    }
}

fn unclear(option: &str) -> Error {
    Error::refuse(
        "this COPY is not supported on a sharded database",
        format!("Weir reads the data, and does not know the option \"{option}\"."),
    )
    .hint("Use the formats text, csv or binary with their usual options.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_out_can_be_put_in_another_way() {
        let copy = copy_out("COPY (SELECT a FROM t WHERE b = 'x') TO STDOUT (FORMAT csv, HEADER)").unwrap();
        assert_eq!(copy.query.as_deref(), Some("SELECT a FROM t WHERE b = 'x'"));
        assert!(copy.header && !copy.is_binary);
        let other = copy.with_query("SELECT a, b FROM t").unwrap();
        let read = copy_out(&other).unwrap();
        assert_eq!(read.query.as_deref(), Some("SELECT a, b FROM t"), "{other}");
        assert!(read.header && other.to_lowercase().contains("csv"), "{other}");
        let table = copy_out("COPY s.t (a, b) TO STDOUT BINARY").unwrap();
        assert!(table.query.is_none() && table.is_binary && !table.header);
        assert!(copy_out("COPY t TO '/tmp/x'").is_err());
        assert!(copy_out("COPY t TO PROGRAM 'cat'").is_err());
    }

    #[test]
    fn the_data_can_have_more_columns() {
        let text = "COPY s.\"T\" (a, \"B c\") FROM stdin (FORMAT csv, HEADER, QUOTE '''') WHERE a > 5";
        let more = with_columns(text, ["id", "Z"].into_iter()).unwrap();
        let read = copy_data(&more).unwrap();
        assert_eq!(read.columns.as_deref(), Some(&["a", "B c", "id", "Z"].map(str::to_owned)[..]), "{more}");
        assert_eq!(
            CopyData { columns: None, ..read },
            CopyData { columns: None, ..copy_data(text).unwrap() },
            "{more}"
        );
        assert!(more.contains("a > 5") && more.contains("s.\"T\""), "{more}");
    }

    fn read(text: &str) -> String {
        match copy_data(text) {
            Ok(CopyData { columns, format, header, header_names, .. }) => {
                let columns = columns.map_or_else(|| "*".to_owned(), |columns| columns.join(","));
                let header = match header {
                    true if header_names => " header of names",
                    true => " header",
                    false => "",
                };
                let shown = |byte: u8| char::from(byte).escape_default().to_string();
                match format {
                    CopyFormat::Text { delimiter, null } => {
                        format!("{columns} text {} {}{header}", shown(delimiter), String::from_utf8_lossy(&null))
                    }
                    CopyFormat::Csv { delimiter, null, quote, escape } => format!(
                        "{columns} csv {} {:?} {} {}{header}",
                        shown(delimiter),
                        String::from_utf8_lossy(&null),
                        char::from(quote),
                        char::from(escape)
                    ),
                    CopyFormat::Binary => format!("{columns} binary"),
                }
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_say_how_the_data_is_written() {
        for (text, expected) in [
            ("COPY t FROM stdin", "* text \\t \\N"),
            ("COPY s.t (a, \"B c\") FROM STDIN", "a,B c text \\t \\N"),
            ("COPY t FROM stdin WITH (DELIMITER '|', NULL 'nix', HEADER)", "* text | nix header"),
            ("COPY t FROM stdin (FORMAT csv)", "* csv , \"\" \" \""),
            ("COPY t FROM stdin (FORMAT 'csv', HEADER match, QUOTE '''')", "* csv , \"\" ' ' header of names"),
            ("COPY t FROM stdin CSV HEADER DELIMITER ';' NULL 'x' ESCAPE '\\'", "* csv ; \"x\" \" \\ header"),
            ("COPY t FROM stdin (FORMAT csv, HEADER false)", "* csv , \"\" \" \""),
            ("COPY t FROM stdin (FORMAT csv, HEADER 0, FREEZE)", "* csv , \"\" \" \""),
            ("COPY t FROM stdin BINARY", "* binary"),
            ("COPY t (k) FROM stdin (FORMAT binary) WHERE k > 5", "k binary"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            "COPY t FROM stdin (DELIMITER 'ab')",
            "COPY t FROM stdin (ENCODING 'latin1')",
            "COPY t FROM stdin (FORMAT csv, FORCE_NULL (a))",
            "COPY t FROM stdin (FORMAT parquet)",
            "COPY t FROM stdin (FORMAT csv, QUOTE 'ä')",
        ] {
            assert!(read(text).contains("does not know the option"), "{text}");
        }
    }
}
