//! What a program knows about one setting, and the macro that makes settings known. Owns the shape of a schema; a
//! program fills it, and `load`, `reference` and the command line walk it, so that a setting is written down in one
//! place only.

use toml::de::DeValue;

use super::value::unit::Unit;
use super::value::{Faults, Value};

/// What a change of a setting needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Taken over on SIGHUP.
    Live,
    /// A restart.
    Restart,
}

/// A group of settings: a `[section]` of the file; the one without name stands before all sections.
#[derive(Debug)]
pub struct Section<C: 'static> {
    /// As in the file, empty for the settings before all sections.
    pub name: &'static str,
    /// What the group is about, a line each.
    pub about: &'static [&'static str],
    /// Its settings.
    pub keys: &'static [Key<C>],
}

/// One setting of the configuration `C`.
pub struct Key<C> {
    /// Section it stands in, empty for none.
    pub section: &'static str,
    /// Name within the section. A word of it is the unit, which its values may then have: `bytes`, and as the last word
    /// `seconds` and `ms`.
    pub name: &'static str,
    /// What it does, a line each.
    pub about: &'static [&'static str],
    /// What a change needs.
    pub reload: Reload,
    /// It may not be shown.
    pub secret: bool,
    /// Its flag may be repeated.
    pub list: bool,
    /// What stands for its value in `--help`.
    pub place: &'static str,
    /// How its type is read, written and copied.
    pub access: Access<C>,
}

/// The functions that `settings!` makes for a setting's field.
pub struct Access<C> {
    /// Read from the file.
    pub set_toml: fn(&mut C, &DeValue<'_>) -> Result<(), Faults>,
    /// Read from an environment variable or a flag.
    pub set_text: fn(&mut C, &str) -> Result<(), Faults>,
    /// Write as TOML.
    pub to_toml: fn(&C) -> String,
    /// Take over from the first into the second.
    pub copy: fn(&C, &mut C),
    /// Smallest and largest value of a bounded number, as TOML.
    pub bounds: fn() -> Option<(String, String)>,
}

impl<C> std::fmt::Debug for Key<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.path()).finish()
    }
}

impl<C> std::fmt::Debug for Access<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl<C> Key<C> {
    /// `section.name`, or just the name.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable: the program's prefix and the name in capitals, the section before two underscores.
    pub fn variable(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.path().replace('.', "__").to_ascii_uppercase())
    }

    /// The flag of its own: settings before all sections have one, secrets do not, since `ps` shows flags.
    pub fn flag(&self) -> Option<String> {
        (self.section.is_empty() && !self.secret).then(|| self.name.replace('_', "-"))
    }

    /// Smallest and largest value, when it is a number with bounds.
    pub fn bounds(&self) -> Option<(String, String)> {
        (self.access.bounds)()
    }

    /// Take the value of `from` over into `into`.
    pub fn copy(&self, from: &C, into: &mut C) {
        (self.access.copy)(from, into);
    }

    /// The value in `config`, as TOML. Secrets are not hidden.
    pub fn value(&self, config: &C) -> String {
        (self.access.to_toml)(config)
    }

    /// Set it to what the file says. A number of bytes or of time may be a text with its unit.
    pub fn set_toml(&self, config: &mut C, value: &DeValue<'_>) -> Result<(), Faults> {
        if let (Some(unit), DeValue::String(text)) = (Unit::of(self.name), value)
            && let Some(number) = unit.whole(text)
        {
            return (self.access.set_text)(config, &number?.to_string());
        }
        (self.access.set_toml)(config, value)
    }

    /// Set it to what an environment variable or a flag says. A number of bytes or of time may have its unit.
    pub fn set_text(&self, config: &mut C, text: &str) -> Result<(), Faults> {
        match Unit::of(self.name).and_then(|unit| unit.whole(text)) {
            Some(number) => (self.access.set_text)(config, &number?.to_string()),
            None => (self.access.set_text)(config, text),
        }
    }
}

/// A section as part of any configuration that has it, made by [`shared_section!`](crate::shared_section).
pub trait SharedSection<C: 'static> {
    /// The section, as part of the configuration `C`.
    const SECTION: Section<C>;
}

/// What [`settings!`](crate::settings) needs of a type, so that a program's schema imports nothing for it.
#[doc(hidden)]
pub fn bounds_of<T: Value>(range: &std::ops::RangeInclusive<T>) -> Option<(String, String)> {
    Some((range.start().to_toml(), range.end().to_toml()))
}

/// Makes the struct of every section, the `Config` of all of them, their defaults and the table of all settings,
/// `SECTIONS`. A section that is made elsewhere, by [`shared_section!`](crate::shared_section), is named behind them:
/// `shared kafka: Kafka;`.
///
/// `live` settings change on SIGHUP, `restart` ones do not.
///
/// ```
/// halley_service::settings! {
///     /// Where the program listens.
///     "" general: General {
///         /// Threads that work.
///         restart threads: u32 = 1, in 1..=8;
///     }
/// }
/// assert_eq!(Config::default().general.threads, 1);
/// assert_eq!(SECTIONS[0].keys[0].path(), "threads");
/// ```
#[macro_export]
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])*
        $path:literal $field:ident: $section:ident {
            $(
                $(#[doc = $doc:literal])*
                $reload:ident $key:ident: $type:ty = $default:expr $(, in $range:expr)?;
            )*
        }
    )* $(shared $shared:ident: $shared_section:ty;)*) => {
        /// Every setting of the program, each checked by itself.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $($(#[doc = $about])* pub $field: $section,)*
            $(
                /// A section that other programs have too.
                pub $shared: $shared_section,
            )*
        }

        $(
            $crate::shared_section! {
                $(#[doc = $about])*
                $path $section {
                    $(
                        $(#[doc = $doc])*
                        $reload $key: $type = $default $(, in $range)?;
                    )*
                }
            }
            $crate::settings!(@part $field: $section);
        )*
        $($crate::settings!(@part $shared: $shared_section);)*

        /// Every section in the order of the reference file.
        pub const SECTIONS: &[$crate::config::key::Section<Config>] = &[
            $(<$section as $crate::config::key::SharedSection<Config>>::SECTION,)*
            $(<$shared_section as $crate::config::key::SharedSection<Config>>::SECTION,)*
        ];
    };
    (@part $field:ident: $section:ty) => {
        impl AsRef<$section> for Config {
            fn as_ref(&self) -> &$section {
                &self.$field
            }
        }

        impl AsMut<$section> for Config {
            fn as_mut(&mut self) -> &mut $section {
                &mut self.$field
            }
        }
    };
}

/// Makes the struct of one section, its defaults and what [`settings!`](crate::settings) needs of it, for a section
/// that several programs have in their configurations.
///
/// ```
/// halley_service::shared_section! {
///     /// How to speak.
///     "speech" Speech {
///         /// Loudness.
///         live loudness: u32 = 3, in 1..=8;
///     }
/// }
/// halley_service::settings! {
///     /// Where the program listens.
///     "" general: General {
///         /// Threads that work.
///         restart threads: u32 = 1, in 1..=8;
///     }
///     shared speech: Speech;
/// }
/// assert_eq!(Config::default().speech.loudness, 3);
/// assert_eq!(SECTIONS[1].keys[0].path(), "speech.loudness");
/// ```
#[macro_export]
macro_rules! shared_section {
    (
        $(#[doc = $about:literal])*
        $path:literal $section:ident {
            $(
                $(#[doc = $doc:literal])*
                $reload:ident $key:ident: $type:ty = $default:expr $(, in $range:expr)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $($(#[doc = $doc])* pub $key: $type,)*
        }

        impl Default for $section {
            fn default() -> Self {
                $section { $($key: $default,)* }
            }
        }

        impl<C: AsRef<$section> + AsMut<$section> + 'static> $crate::config::key::SharedSection<C> for $section {
            const SECTION: $crate::config::key::Section<C> = $crate::config::key::Section {
                name: $path,
                about: &[$($about),*],
                keys: &[$(
                    $crate::config::key::Key {
                        section: $path,
                        name: stringify!($key),
                        about: &[$($doc),*],
                        reload: $crate::shared_section!(@reload $reload),
                        secret: <$type as $crate::config::value::Value>::SECRET,
                        list: <$type as $crate::config::value::Value>::LIST,
                        place: <$type as $crate::config::value::Value>::PLACE,
                        access: $crate::config::key::Access {
                            set_toml: |config: &mut C, value| {
                                let value = <$type as $crate::config::value::Value>::read_toml(value)?;
                                $($crate::config::value::within(&value, &$range)?;)?
                                config.as_mut().$key = value;
                                Ok(())
                            },
                            set_text: |config: &mut C, text| {
                                let value = <$type as $crate::config::value::Value>::read_text(text)?;
                                $($crate::config::value::within(&value, &$range)?;)?
                                config.as_mut().$key = value;
                                Ok(())
                            },
                            to_toml: |config: &C| $crate::config::value::Value::to_toml(&config.as_ref().$key),
                            copy: |from: &C, into: &mut C| into.as_mut().$key = from.as_ref().$key.clone(),
                            bounds: || $crate::shared_section!(@bounds $type $(, $range)?),
                        },
                    }
                ),*],
            };
        }
    };
    (@reload live) => { $crate::config::key::Reload::Live };
    (@reload restart) => { $crate::config::key::Reload::Restart };
    (@bounds $type:ty) => { None };
    (@bounds $type:ty, $range:expr) => { $crate::config::key::bounds_of::<$type>(&$range) };
}
