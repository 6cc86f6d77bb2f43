//! Arrays of one dimension in text format: `{1,NULL,"x y"}`. Source: PostgreSQL manual, "Array Input and Output Syntax".

use bytes::{BufMut, BytesMut};

/// Writes an element behind those that stand in `elements` already; braces are the caller's.
pub fn push_element(elements: &mut BytesMut, value: Option<&[u8]>) {
    if !elements.is_empty() {
        elements.put_u8(b',');
    }
    let Some(text) = value else { return elements.put_slice(b"NULL") };
    elements.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            elements.put_u8(b'\\');
        }
        elements.put_u8(*byte);
    }
    elements.put_u8(b'"');
}

/// An array of these values.
pub fn array<'v>(values: impl Iterator<Item = Option<&'v [u8]>>) -> Vec<u8> {
    let mut elements = BytesMut::new();
    values.for_each(|value| push_element(&mut elements, value));
    [b"{", &elements[..], b"}"].concat()
}

/// The elements of an array, NULLs among them. `None` for other forms: dimensions in front, arrays in the array, blanks around
/// elements.
pub fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (word, is_quoted, after) = element(rest)?;
        values.push((is_quoted || !word.eq_ignore_ascii_case("null")).then_some(word));
        rest = match after.strip_prefix(',') {
            // A comma at the end is an error of the server's.
            Some("") => return None,
            Some(after) => after,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(values)
}

/// The first element, whether it was quoted, and what follows it.
fn element(text: &str) -> Option<(String, bool, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        let plain = |char: char| !char.is_ascii_whitespace() && !matches!(char, '"' | '\\' | '{' | '}');
        return (!word.is_empty() && word.chars().all(plain)).then(|| (word.to_owned(), false, after));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((word, true, quoted.get(at + 1..)?)),
            '\\' => word.push(chars.next()?.1),
            other => word.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let values: [Option<&[u8]>; 5] = [Some(b"a"), None, Some(b""), Some(b"null"), Some(br#"x "y" \z, {}"#)];
        let text = String::from_utf8(array(values.into_iter())).unwrap();
        assert_eq!(text, r#"{"a",NULL,"","null","x \"y\" \\z, {}"}"#);
        let read = elements(&text).unwrap();
        assert!(read.iter().map(|value| value.as_deref().map(str::as_bytes)).eq(values));
        assert_eq!(elements("{}"), Some(Vec::new()));
        for other in ["", "{", "{1,}", "{1, 2}", "{{1},{2}}", "[1:1]={1}", "{\"a}", "{\"a\"b}"] {
            assert_eq!(elements(other), None, "{other}");
        }
    }
}
