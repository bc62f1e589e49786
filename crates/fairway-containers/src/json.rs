//! Fields of JSON whose shape is not ours: what is missing or of another type is not there.

use serde_json::Value;

/// The value at a path of keys.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// A text that is not empty.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str().filter(|text| !text.is_empty())
}

/// A text that is not empty, as a value such as an address.
pub(crate) fn parsed<T: std::str::FromStr>(value: &Value, path: &[&str]) -> Option<T> {
    text(value, path)?.parse().ok()
}

/// A number, also if it is a text.
pub(crate) fn number<T: TryFrom<u64>>(value: &Value, path: &[&str]) -> Option<T> {
    let value = at(value, path)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())?.try_into().ok()
}

/// The elements of a list.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> + use<'a> {
    at(value, path).and_then(Value::as_array).into_iter().flatten()
}

/// The fields of an object.
pub(crate) fn fields<'a>(
    value: &'a Value,
    path: &[&str],
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    at(value, path).and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_another_type_is_not_there() {
        let value = json!({"a": {"b": "x", "n": 7, "s": "8", "l": [1], "e": "", "null": null, "big": 70000}});
        assert_eq!(text(&value, &["a", "b"]), Some("x"));
        for path in [&["a", "n"][..], &["a", "e"], &["a", "null"], &["a", "c"], &["b"], &["a", "b", "c"]] {
            assert_eq!(text(&value, path), None, "{path:?}");
        }
        assert_eq!(number::<u16>(&value, &["a", "n"]), Some(7));
        assert_eq!(number::<u16>(&value, &["a", "s"]), Some(8));
        assert_eq!(number::<u16>(&value, &["a", "big"]), None);
        assert_eq!(number::<u32>(&value, &["a", "big"]), Some(70000));
        assert_eq!(number::<u16>(&value, &["a", "b"]), None);
        assert_eq!(list(&value, &["a", "l"]).count(), 1);
        assert_eq!(list(&value, &["a", "b"]).count() + fields(&value, &["a", "l"]).count(), 0);
        assert_eq!(fields(&value, &["a"]).count(), 7);
        assert_eq!(parsed::<u8>(&value, &["a", "s"]), Some(8));
        assert_eq!(parsed::<u8>(&value, &["a", "b"]), None);
    }
}
