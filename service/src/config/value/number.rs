//! Numbers as settings. Owns how they are written: whole ones with underscores, in the file in hexadecimal too;
//! fractions are finite. Bounds are the setting's.

use toml::de::DeValue;

use super::{Fault, Value};

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const PLACE: &'static str = "NUMBER";

            fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
                let number = value.as_integer().ok_or_else(|| Fault::of_kind("a whole number", value))?;
                <$type>::from_str_radix(number.as_str(), number.radix()).map_err(|_| beyond(<$type>::MAX))
            }

            fn from_text(text: &str) -> Result<Self, Fault> {
                let digits = text.trim().replace('_', "");
                if digits.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok()) {
                    return Err(Fault::Negative);
                }
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Fault::NotWhole);
                }
                digits.parse().map_err(|_| beyond(<$type>::MAX))
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64);

fn beyond(max: impl std::fmt::Display) -> Fault {
    Fault::Range { low: "0".to_owned(), high: max.to_string() }
}

impl Value for f32 {
    const PLACE: &'static str = "NUMBER";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        match value {
            DeValue::Float(number) => Self::from_text(number.as_str()),
            DeValue::Integer(number) if number.radix() == 10 => Self::from_text(number.as_str()),
            other => Err(Fault::of_kind("a number", other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let number: f32 = text.trim().parse().map_err(|_| Fault::NotNumber)?;
        if number.is_finite() { Ok(number) } else { Err(Fault::NotFinite) }
    }

    fn to_toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for bool {
    const PLACE: &'static str = "true|false";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        value.as_bool().ok_or_else(|| Fault::of_kind("true or false", value))
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        match text.trim() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(Fault::NotBoolean),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}
