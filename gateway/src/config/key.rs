//! What the program knows about one setting, and the macro that makes settings known. Owns the shape of the schema;
//! `schema` fills it, and `load`, `reference` and `cli` walk it, so that a setting is written down in one place only.

use toml::de::DeValue;

use super::schema::Config;

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
pub struct Section {
    /// As in the file, empty for the settings before all sections.
    pub name: &'static str,
    /// What the group is about, a line each.
    pub about: &'static [&'static str],
    /// Its settings.
    pub keys: &'static [Key],
}

/// One setting.
pub struct Key {
    /// Section it stands in, empty for none.
    pub section: &'static str,
    /// Name within the section.
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
    pub(super) set_toml: fn(&mut Config, &DeValue<'_>) -> Result<(), Vec<String>>,
    pub(super) set_text: fn(&mut Config, &str) -> Result<(), Vec<String>>,
    pub(super) to_toml: fn(&Config) -> String,
    pub(super) copy: fn(&Config, &mut Config),
    pub(super) bounds: fn() -> Option<(String, String)>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.path()).finish()
    }
}

impl Key {
    /// `section.name`, or just the name.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable: `HALLEY_` and the name in capitals, the section before two underscores.
    pub fn variable(&self) -> String {
        format!("HALLEY_{}", self.path().replace('.', "__").to_ascii_uppercase())
    }

    /// The flag of its own: settings before all sections have one, secrets do not, since `ps` shows flags.
    pub fn flag(&self) -> Option<String> {
        (self.section.is_empty() && !self.secret).then(|| self.name.replace('_', "-"))
    }

    /// Smallest and largest value, when it is a number with bounds.
    pub fn bounds(&self) -> Option<(String, String)> {
        (self.bounds)()
    }

    /// Take the value of `from` over into `into`.
    pub fn copy(&self, from: &Config, into: &mut Config) {
        (self.copy)(from, into);
    }

    /// The value in `config`, as TOML.
    pub fn value(&self, config: &Config) -> String {
        (self.to_toml)(config)
    }
}

/// Makes the struct of every section, [`Config`], their defaults and the table of all settings.
///
/// `live` settings change on SIGHUP, `restart` ones do not.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])*
        $path:literal $field:ident: $section:ident {
            $(
                $(#[doc = $doc:literal])*
                $reload:ident $key:ident: $type:ty = $default:expr $(, in $range:expr)?;
            )*
        }
    )*) => {
        /// Every setting of the gateway, checked one by one; `check` looks at them together.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $($(#[doc = $about])* pub $field: $section,)*
        }

        $(
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
        )*

        /// Every section in the order of the reference file.
        pub const SECTIONS: &[Section] = &[$(
            Section {
                name: $path,
                about: &[$($about),*],
                keys: &[$(
                    Key {
                        section: $path,
                        name: stringify!($key),
                        about: &[$($doc),*],
                        reload: settings!(@reload $reload),
                        secret: <$type as Value>::SECRET,
                        list: <$type as Value>::LIST,
                        place: <$type as Value>::PLACE,
                        set_toml: |config, value| {
                            let value = <$type as Value>::read_toml(value)?;
                            $(within(&value, &$range).map_err(|reason| vec![reason])?;)?
                            config.$field.$key = value;
                            Ok(())
                        },
                        set_text: |config, text| {
                            let value = <$type as Value>::read_text(text)?;
                            $(within(&value, &$range).map_err(|reason| vec![reason])?;)?
                            config.$field.$key = value;
                            Ok(())
                        },
                        to_toml: |config| config.$field.$key.to_toml(),
                        copy: |from, into| into.$field.$key = from.$field.$key.clone(),
                        bounds: || settings!(@bounds $type $(, $range)?),
                    },
                )*],
            },
        )*];
    };
    (@reload live) => { Reload::Live };
    (@reload restart) => { Reload::Restart };
    (@bounds $type:ty) => { None };
    (@bounds $type:ty, $range:expr) => {{
        let range: std::ops::RangeInclusive<$type> = $range;
        Some((range.start().to_toml(), range.end().to_toml()))
    }};
}

pub(super) use settings;
