//! Reads JSON as Go's `encoding/json` does, for every request body and the faces.
//!
//! `null` is the zero value of whatever is expected, and the names of a struct's fields match in any case. The keys of
//! maps, which users choose, keep theirs.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// Reads a whole JSON text.
///
/// # Errors
/// The text is no JSON, or holds a value of another type than is expected.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(AsGo(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// A deserializer, seed or access whose values are read as Go reads them.
struct AsGo<T>(T);

/// The zero value that `null` stands for.
enum Zero {
    Nothing,
    False,
    Number,
    Text,
    List,
    Map,
}

/// A visitor that is shown `null` as the zero value, and the keys of a struct as the names of its `fields`.
struct Tolerant<V> {
    visitor: V,
    zero: Zero,
    fields: &'static [&'static str],
}

macro_rules! with_zero {
    ($($method:ident: $zero:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Tolerant { visitor, zero: Zero::$zero, fields: &[] })
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AsGo<D> {
    type Error = D::Error;

    with_zero! {
        deserialize_any: Nothing, deserialize_bool: False, deserialize_string: Text, deserialize_str: Text,
        deserialize_seq: List, deserialize_map: Map, deserialize_u8: Number, deserialize_u16: Number,
        deserialize_u32: Number, deserialize_u64: Number, deserialize_i8: Number, deserialize_i16: Number,
        deserialize_i32: Number, deserialize_i64: Number, deserialize_f64: Number,
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Tolerant { visitor, zero: Zero::Map, fields })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Tolerant { visitor, zero: Zero::Nothing, fields: &[] })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct enum identifier
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tolerant<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        let nothing = std::iter::empty::<(String, ())>();
        match self.zero {
            Zero::Nothing => self.visitor.visit_unit(),
            Zero::False => self.visitor.visit_bool(false),
            Zero::Number => self.visitor.visit_u64(0),
            Zero::Text => self.visitor.visit_str(""),
            Zero::List => self.visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Zero::Map => self.visitor.visit_map(MapDeserializer::new(nothing)),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(AsGo(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(AsGo(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Fields { map, fields: self.fields })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for AsGo<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(AsGo(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for AsGo<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(AsGo(seed))
    }
}

/// The entries of an object; if it is a struct, those of its fields.
struct Fields<A> {
    map: A,
    fields: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if self.fields.is_empty() {
            return self.map.next_key_seed(seed);
        }
        while let Some(key) = self.map.next_key::<String>()? {
            match self.fields.iter().find(|field| field.eq_ignore_ascii_case(&key)) {
                Some(field) => {
                    return seed.deserialize(serde::de::value::StrDeserializer::new(field)).map(Some);
                }
                None => drop(self.map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(AsGo(seed))
    }
}
