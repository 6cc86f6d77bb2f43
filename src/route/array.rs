//! Arrays of key values: what `= ANY (...)` compares with.

use super::value::Family;
use crate::shardmap::{KeyType, KeyValue};
use crate::wire::array;
use crate::wire::frontend::Format;

/// The element type of an array type by its OID (`pg_type.dat`), where it is a key type.
pub(super) fn element_type(oid: u32) -> Option<KeyType> {
    Some(match oid {
        1005 => KeyType::Int2,
        1007 => KeyType::Int4,
        1016 => KeyType::Int8,
        1009 => KeyType::Text,
        1015 => KeyType::Varchar,
        2951 => KeyType::Uuid,
        1182 => KeyType::Date,
        1115 => KeyType::Timestamp,
        1185 => KeyType::Timestamptz,
        1231 => KeyType::Numeric,
        1001 => KeyType::Bytea,
        1000 => KeyType::Bool,
        _ => return None,
    })
}

/// The elements that are not NULL of an array of `element`, compared with keys of `key_type`; `None` when one of them is
/// not certain. `is_element` knows the OIDs that the type may have.
pub(super) fn elements(
    bytes: &[u8],
    format: Format,
    element: KeyType,
    key_type: KeyType,
    is_element: impl Fn(u32) -> bool,
) -> Option<Vec<KeyValue<'static>>> {
    if Family::of(element) != Family::of(key_type) {
        return None;
    }
    match format {
        Format::Text => text_elements(std::str::from_utf8(bytes).ok()?, element),
        Format::Binary => binary_elements(bytes, element, is_element),
    }
}

/// Forms that [`array::elements`] does not know are not read.
pub(super) fn text_elements(text: &str, element: KeyType) -> Option<Vec<KeyValue<'static>>> {
    let elements = array::elements(text)?;
    elements.iter().flatten().map(|word| Some(KeyValue::from_text(element, word)?.into_owned())).collect()
}

/// The form of `array_send`: dimensions, a flag, the elements' type; per dimension its size and first index; then each
/// element with its length.
fn binary_elements(bytes: &[u8], element: KeyType, is_element: impl Fn(u32) -> bool) -> Option<Vec<KeyValue<'static>>> {
    let mut rest = bytes;
    let dimensions = number(&mut rest)?;
    let _has_nulls = number(&mut rest)?;
    if !is_element(number(&mut rest)?.cast_unsigned()) {
        return None;
    }
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = number(&mut rest)?;
            let _first_index = number(&mut rest)?;
            count
        }
        _ => return None,
    };
    let mut values = Vec::new();
    for _ in 0..count {
        let length = number(&mut rest)?;
        // -1 stands for NULL.
        if length != -1 {
            let (value, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            values.push(KeyValue::from_binary(element, value)?.into_owned());
        }
    }
    rest.is_empty().then_some(values)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(text: &str) -> Option<String> {
        let values = text_elements(text, KeyType::Int4)?;
        Some(values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn plain_arrays_are_read_and_others_are_not() {
        assert_eq!(ints("{}").as_deref(), Some(""));
        assert_eq!(ints("{1,-2,NULL,\"3\"}").as_deref(), Some("1 -2 3"));
        for text in
            ["", "{", "{1,}", "{,1}", "{ 1}", "{{1}}", "[0:0]={1}", "{1}x", "{\"1}", "{\"1\"2}", "{x}", "{1\\2}"]
        {
            assert_eq!(ints(text), None, "{text}");
        }
        let texts = text_elements(r#"{a,"b c","N\"\\","null",NULL}"#, KeyType::Text).expect("texts");
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a", "b c", "N\"\\", "null"]);
    }

    #[test]
    fn binary_arrays_are_read_to_their_last_byte() {
        let is_int4 = |oid| oid == 23;
        let word = |value: i32| value.to_be_bytes();
        let array =
            [word(1), word(1), word(23), word(3), word(1), word(4), word(150), word(-1), word(4), word(7)].concat();
        let values = binary_elements(&array, KeyType::Int4, is_int4).expect("an array");
        assert_eq!(values, [KeyValue::Int(150), KeyValue::Int(7)]);
        for cut in 0..array.len() {
            assert_eq!(binary_elements(&array[..cut], KeyType::Int4, is_int4), None, "{cut}");
        }
        assert_eq!(binary_elements(&array, KeyType::Int8, |oid| oid == 20), None);
        assert_eq!(binary_elements(&[&array[..], &[0]].concat(), KeyType::Int4, is_int4), None);
    }
}
