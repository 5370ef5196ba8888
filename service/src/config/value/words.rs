//! A closed list of words as a setting. Owns the macro that makes an enum one; the enums and their words are the
//! program's.

#[doc(hidden)]
pub use toml::de::DeValue;

use super::{Fault, text_of};

/// The text that stands where a word belongs.
///
/// # Errors
/// The file gives another type.
#[doc(hidden)]
pub fn word_of<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Fault> {
    text_of(value, "a word in quotes")
}

/// Makes an enum a setting whose values are words. Every variant needs its word, or it does not compile.
///
/// ```
/// use halley_service::config::value::Value as _;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Policy { Keep, Drop }
/// halley_service::words! { Policy { Keep = "keep", Drop = "drop" } }
///
/// assert_eq!(Policy::from_text("drop"), Ok(Policy::Drop));
/// assert_eq!(Policy::Keep.word(), "keep");
/// ```
#[macro_export]
macro_rules! words {
    ($($type:ident { $($choice:ident = $word:literal),* $(,)? })*) => {$(
        impl $type {
            /// As it is written in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $($type::$choice => $word,)* }
            }
        }

        impl $crate::config::value::Value for $type {
            const PLACE: &'static str = concat!($("|", $word),*).split_at(1).1;

            fn from_toml(
                value: &$crate::config::value::words::DeValue<'_>,
            ) -> Result<Self, $crate::config::value::Fault> {
                Self::from_text($crate::config::value::words::word_of(value)?)
            }

            fn from_text(text: &str) -> Result<Self, $crate::config::value::Fault> {
                match text.trim() {
                    $($word => Ok($type::$choice),)*
                    other => Err($crate::config::value::Fault::NotAmong {
                        words: &[$($word),*],
                        given: other.to_owned(),
                    }),
                }
            }

            fn to_toml(&self) -> String {
                $crate::config::value::Value::to_toml(&self.word().to_owned())
            }
        }
    )*};
}
