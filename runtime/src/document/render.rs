//! Values for people (short) and as JSON (whole).

use std::fmt;

use serde_json::{Map as Json, Value as JsonValue, json};

use super::{Key, Map, Object, Value};

/// How many elements, entries or characters are shown before `…`.
const SHOWN: usize = 6;
const SHOWN_CHARS: usize = 60;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 0)
    }
}

impl Value {
    fn show(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => write!(f, "{truth}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::BigInt(number) if number.len() > SHOWN_CHARS => write!(f, "{}…", &number[..SHOWN_CHARS]),
            Value::BigInt(number) => f.write_str(number),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Str(text) => show_text(f, text),
            Value::Bytes(bytes) => write!(f, "bytes({})", bytes.len()),
            Value::List(list) => show_list(f, list, depth),
            Value::Map(map) => show_map(f, map, depth),
            Value::Object(object) => object.show(f, depth),
            Value::Global(name) => show_name(f, name),
            Value::Tensor(index) => write!(f, "tensor({index})"),
            Value::Cycle => f.write_str("…"),
        }
    }

    /// The whole value as JSON.
    ///
    /// What JSON lacks becomes an object with one key that starts with `$`: `{"$tensor": 3}`, `{"$bytes": 20}` (the
    /// count), `{"$global": "torch.float16"}`, `{"$class": …}` with the attributes beside it, `{"$float": "nan"}`,
    /// `{"$int": "…"}`, `{"$cycle": true}`. Keys that are not strings become strings.
    #[must_use]
    pub fn to_json(&self) -> JsonValue {
        match self {
            Value::Null => JsonValue::Null,
            Value::Bool(truth) => json!(truth),
            Value::Int(number) => json!(number),
            Value::BigInt(number) => json!({ "$int": &**number }),
            Value::Float(number) if number.is_finite() => json!(number),
            Value::Float(number) => json!({ "$float": number.to_string().to_lowercase() }),
            Value::Str(text) => json!(&**text),
            Value::Bytes(bytes) => json!({ "$bytes": bytes.len() }),
            Value::List(list) => list.iter().map(Value::to_json).collect(),
            Value::Map(map) => JsonValue::Object(map.to_json()),
            Value::Object(object) => object.to_json(),
            Value::Global(name) => json!({ "$global": &**name }),
            Value::Tensor(index) => json!({ "$tensor": index }),
            Value::Cycle => json!({ "$cycle": true }),
        }
    }
}

impl Map {
    fn to_json(&self) -> Json<String, JsonValue> {
        self.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()
    }
}

impl Object {
    fn to_json(&self) -> JsonValue {
        let mut json = Json::new();
        json.insert("$class".to_owned(), json!(&*self.class));
        let mut put = |name: &str, value: JsonValue| json.insert(name.to_owned(), value);
        if !self.args.is_empty() {
            put("$args", self.args.iter().map(Value::to_json).collect());
        }
        if !self.kwargs.is_empty() {
            put("$kwargs", JsonValue::Object(self.kwargs.to_json()));
        }
        if let Some(state) = &self.state {
            put("$state", state.to_json());
        }
        if !self.items.is_empty() {
            put("$items", self.items.iter().map(Value::to_json).collect());
        }
        if !self.entries.is_empty() {
            put("$entries", JsonValue::Object(self.entries.to_json()));
        }
        json.extend(self.attributes.to_json());
        JsonValue::Object(json)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        show_name(f, &self.class)?;
        f.write_str("(")?;
        let positional = self.args.iter().map(|v| (None, v));
        let named = self.kwargs.iter().chain(&self.attributes).map(|(k, v)| (Some(k), v));
        for (at, (name, value)) in positional.chain(named).enumerate() {
            if at == SHOWN || depth > 1 {
                f.write_str(if at == 0 { "…" } else { ", …" })?;
                break;
            }
            f.write_str(if at > 0 { ", " } else { "" })?;
            if let Some(name) = name {
                show_name(f, &name.to_string())?;
                f.write_str("=")?;
            }
            value.show(f, depth + 1)?;
        }
        f.write_str(")")
    }
}

fn show_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    match name.char_indices().nth(2 * SHOWN_CHARS) {
        Some((end, _)) => write!(f, "{}…", &name[..end]),
        None => f.write_str(name),
    }
}

fn show_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => write!(f, "{:?}…", &text[..end]),
        None => write!(f, "{text:?}"),
    }
}

fn show_list(f: &mut fmt::Formatter<'_>, list: &[Value], depth: usize) -> fmt::Result {
    if depth > 1 && !list.is_empty() {
        return write!(f, "[{} elements]", list.len());
    }
    f.write_str("[")?;
    for (at, value) in list.iter().take(SHOWN).enumerate() {
        f.write_str(if at > 0 { ", " } else { "" })?;
        value.show(f, depth + 1)?;
    }
    f.write_str(if list.len() > SHOWN { ", …]" } else { "]" })
}

fn show_map(f: &mut fmt::Formatter<'_>, map: &Map, depth: usize) -> fmt::Result {
    if depth > 1 && !map.is_empty() {
        return write!(f, "{{{} entries}}", map.len());
    }
    f.write_str("{")?;
    for (at, (key, value)) in map.iter().take(SHOWN).enumerate() {
        f.write_str(if at > 0 { ", " } else { "" })?;
        show_name(f, &key.to_string())?;
        f.write_str(": ")?;
        value.show(f, depth + 1)?;
    }
    f.write_str(if map.len() > SHOWN { ", …}" } else { "}" })
}

impl From<&JsonValue> for Value {
    fn from(json: &JsonValue) -> Value {
        match json {
            JsonValue::Null => Value::Null,
            JsonValue::Bool(truth) => Value::Bool(*truth),
            JsonValue::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::BigInt(number.to_string().into()),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            JsonValue::String(text) => Value::Str(text.as_str().into()),
            JsonValue::Array(list) => Value::List(list.iter().map(Value::from).collect()),
            JsonValue::Object(map) => {
                Value::Map(map.iter().map(|(key, value)| (Key::from(key.as_str()), value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_little_and_converts_all() {
        let json = json!({"a": [1, 2, 3, 4, 5, 6, 7, [8, [9]]], "b": {"c": {"d": 1}}, "e": 18_446_744_073_709_551_615_u64});
        let value = Value::from(&json);
        assert_eq!(
            value.to_string(),
            "{a: [1, 2, 3, 4, 5, 6, …], b: {c: {1 entries}}, e: 18446744073709551615}"
        );
        assert_eq!(value.to_json()["a"], json["a"]);
        assert_eq!(value.to_json()["e"], json!({"$int": "18446744073709551615"}));
        assert_eq!(Value::Float(f64::NEG_INFINITY).to_json(), json!({"$float": "-inf"}));
    }

    #[test]
    fn objects_show_class_arguments_and_attributes() {
        let object = Object {
            class: "megatron.enums.ModelType".into(),
            args: vec![Value::Int(1)],
            attributes: [(Key::from("name"), Value::Str("x".into()))].into_iter().collect(),
            ..Object::default()
        };
        let value = Value::Object(Box::new(object));
        assert_eq!(value.to_string(), "megatron.enums.ModelType(1, name=\"x\")");
        assert_eq!(value.to_json(), json!({"$class": "megatron.enums.ModelType", "$args": [1], "name": "x"}));
    }
}
