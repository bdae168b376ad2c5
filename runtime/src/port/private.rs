//! What generated configs are made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use transship_grammar::Value;

use crate::bind::Setting;

/// A config value of a type that the mapping does not state.
#[derive(Clone, Debug, PartialEq)]
pub struct AnyValue(pub Value);

impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::plan::to_json(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyValue, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|json| AnyValue(crate::bind::from_json(&json)))
    }
}

/// A Rust type that holds config values of one kind.
pub trait ConfigValue: Sized {
    /// The value, if it is of this kind.
    fn from_value(value: &Value) -> Option<Self>;
    /// As it is given with `--set`; nothing where there is no value.
    fn to_setting(&self) -> Option<String>;
}

macro_rules! config_values {
    ($($ty:ty, $from:expr;)*) => {$(
        impl ConfigValue for $ty {
            fn from_value(value: &Value) -> Option<$ty> {
                let from: fn(&Value) -> Option<$ty> = $from;
                from(value)
            }

            fn to_setting(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

config_values! {
    usize, |v| usize::try_from(v.as_integer()?).ok();
    i64, Value::as_integer;
    f64, Value::as_number;
    bool, |v| if let Value::Bool(b) = v { Some(*b) } else { None };
    String, |v| if let Value::Text(text) = v { Some(text.clone()) } else { None };
}

impl ConfigValue for AnyValue {
    fn from_value(value: &Value) -> Option<AnyValue> {
        Some(AnyValue(value.clone()))
    }

    fn to_setting(&self) -> Option<String> {
        match &self.0 {
            Value::Text(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn from_value(value: &Value) -> Option<Option<T>> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }

    fn to_setting(&self) -> Option<String> {
        self.as_ref().and_then(ConfigValue::to_setting)
    }
}

/// A value that must be there.
#[doc(hidden)]
pub fn required<T: ConfigValue>(value: &dyn Fn(&str) -> Option<Value>, name: &str) -> Result<T, String> {
    value(name).as_ref().and_then(T::from_value).ok_or_else(|| name.to_owned())
}

/// A value that may be absent.
#[doc(hidden)]
pub fn optional<T: ConfigValue>(
    value: &dyn Fn(&str) -> Option<Value>,
    name: &str,
) -> Result<Option<T>, String> {
    match value(name) {
        None => Ok(None),
        Some(found) => Option::<T>::from_value(&found).ok_or_else(|| name.to_owned()),
    }
}

/// A field of a config as a setting.
#[doc(hidden)]
pub fn setting<T: ConfigValue>(name: &str, value: &T) -> Option<Setting> {
    value.to_setting().map(|value| Setting { name: name.to_owned(), value })
}

/// The fields of a config that are set.
#[doc(hidden)]
pub fn settings<const N: usize>(all: [Option<Setting>; N]) -> Vec<Setting> {
    all.into_iter().flatten().collect()
}
