//! The types a setting can have. Owns how each is read from TOML, from an environment variable or flag, and written back; knows
//! no setting and no file. `schema` names types and bounds, `load` reports what is wrong and where it stood.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;

/// Bytes of the longest text in a setting.
const TEXT_BYTES_MAX: usize = 4096;

/// One setting's type. Errors are the end of a sentence that begins with the setting's name: "must be …".
pub trait Value: Sized + Clone {
    /// Read from the file.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;
    /// Read from an environment variable or a flag.
    fn from_text(text: &str) -> Result<Self, String>;
    /// Write as TOML; reading that gives an equal value.
    fn to_toml(&self) -> String;
    /// As [`Value::from_toml`]; a list says what is wrong with each of its items.
    fn read_toml(value: &DeValue<'_>) -> Result<Self, Vec<String>> {
        Self::from_toml(value).map_err(|reason| vec![reason])
    }
    /// As [`Value::from_text`]; a list says what is wrong with each of its items.
    fn read_text(text: &str) -> Result<Self, Vec<String>> {
        Self::from_text(text).map_err(|reason| vec![reason])
    }
    /// Whether it may be shown to people; secrets may not.
    const SECRET: bool = false;
    /// Whether a flag may be given several times.
    const LIST: bool = false;
    /// What stands for a value in `--help`.
    const PLACE: &'static str = "VALUE";
}

/// Says so when `value` is outside `range`.
pub fn within<T: PartialOrd + fmt::Display>(value: &T, range: &RangeInclusive<T>) -> Result<(), String> {
    if range.contains(value) { Ok(()) } else { Err(format!("must be between {} and {}", range.start(), range.end())) }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const PLACE: &'static str = "NUMBER";

            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                let number = value.as_integer().ok_or_else(|| wanted("a whole number", value))?;
                <$type>::from_str_radix(number.as_str(), number.radix()).map_err(|_| out_of_range(<$type>::MAX))
            }

            fn from_text(text: &str) -> Result<Self, String> {
                let digits = text.trim().replace('_', "");
                if digits.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok()) {
                    return Err("must not be negative".to_owned());
                }
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err("must be a whole number".to_owned());
                }
                digits.parse().map_err(|_| out_of_range(<$type>::MAX))
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64);

fn out_of_range(max: impl fmt::Display) -> String {
    format!("must be between 0 and {max}")
}

fn wanted(what: &str, value: &DeValue<'_>) -> String {
    let given = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    format!("must be {what}, not {given}")
}

impl Value for f32 {
    const PLACE: &'static str = "NUMBER";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Float(number) => Self::from_text(number.as_str()),
            DeValue::Integer(number) if number.radix() == 10 => Self::from_text(number.as_str()),
            other => Err(wanted("a number", other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number: f32 = text.trim().parse().map_err(|_| "must be a number".to_owned())?;
        if number.is_finite() { Ok(number) } else { Err("must be a finite number".to_owned()) }
    }

    fn to_toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for bool {
    const PLACE: &'static str = "true|false";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wanted("true or false", value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const PLACE: &'static str = "TEXT";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or_else(|| wanted("a text", value))?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("must have at most {TEXT_BYTES_MAX} bytes"));
        }
        if text.contains(|letter: char| letter.is_control()) {
            return Err("must have no control characters".to_owned());
        }
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

impl Value for PathBuf {
    const PLACE: &'static str = "PATH";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        String::from_toml(value).map(PathBuf::from)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        String::from_text(text).map(PathBuf::from)
    }

    fn to_toml(&self) -> String {
        self.to_string_lossy().into_owned().to_toml()
    }
}

/// A text that is never shown: tokens and keys. Empty = none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The secret, unless it is empty.
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret()" } else { "Secret(..)" })
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        String::from_toml(value).map(Secret)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        String::from_text(text).map(Secret)
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

/// A whole address.
impl Value for SocketAddr {
    const PLACE: &'static str = "ADDRESS";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or_else(|| wanted("an address in quotes", value))?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        text.parse().map_err(|_| match text.strip_prefix(':').map(str::parse::<u16>) {
            Some(Ok(port)) => format!("must name an address: write 0.0.0.0:{port}, or [::]:{port} with IPv6"),
            _ => format!("must be an IP address with a port, such as 127.0.0.1:3101 or [::1]:3101, not {text:?}"),
        })
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}

/// Where the admin side listens: an address, or a Unix-domain socket written `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Tcp(address) => address.fmt(f),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Value for AdminAddress {
    const PLACE: &'static str = "ADDRESS";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or_else(|| wanted("an address in quotes", value))?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().strip_prefix("unix:") {
            Some("") => Err("must name a file after unix:".to_owned()),
            Some(path) => Ok(AdminAddress::Unix(path.into())),
            None => SocketAddr::from_text(text)
                .map(AdminAddress::Tcp)
                .map_err(|error| format!("{error}; a socket file is written unix:/path")),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}

/// Several values. In an environment variable they are separated by commas; a flag may also be repeated.
impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;
    const LIST: bool = true;
    const PLACE: &'static str = T::PLACE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::read_toml(value).map_err(|mut reasons| reasons.swap_remove(0))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::read_text(text).map_err(|mut reasons| reasons.swap_remove(0))
    }

    fn read_toml(value: &DeValue<'_>) -> Result<Self, Vec<String>> {
        match value {
            DeValue::Array(items) => all(items.iter().map(|item| T::from_toml(item.get_ref()))),
            single => T::read_toml(single).map(|single| vec![single]),
        }
    }

    fn read_text(text: &str) -> Result<Self, Vec<String>> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        all(text.split(',').map(|item| T::from_text(item.trim())))
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(Value::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Every item, or what is wrong with any of them.
fn all<T>(items: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, Vec<String>> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(reason) => wrong.push(reason),
        }
    }
    // The same slip in several items is one thing to say.
    wrong.dedup();
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

/// A type with a closed list of words.
macro_rules! choices {
    ($($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $choice:ident = $word:literal,)* })*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])* $choice,)* }

        impl $name {
            /// As it is written.
            pub const fn word(self) -> &'static str {
                match self { $($name::$choice => $word,)* }
            }
        }

        impl Value for $name {
            const PLACE: &'static str = concat!($("|", $word),*).split_at(1).1;

            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                Self::from_text(value.as_str().ok_or_else(|| wanted("a word in quotes", value))?)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok($name::$choice),)*
                    other => Err(not_among(other, &[$($word),*])),
                }
            }

            fn to_toml(&self) -> String {
                self.word().to_owned().to_toml()
            }
        }
    )*};
}

fn not_among(given: &str, words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let nearest = super::nearest::nearest(given, words.iter().copied());
    let hint = nearest.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
    format!("must be {}, not {given:?}{hint}", quoted.join(" or "))
}

choices! {
    /// How logins are decided.
    Auth {
        /// goim's unsigned JSON token.
        Open = "open",
        /// A signed token.
        Jwt = "jwt",
    }
    /// How strictly client WebSocket frames are read.
    WebSocketProfile {
        /// As goim's clients need it.
        Goim = "goim",
        /// RFC 6455 to the letter.
        Strict = "strict",
    }
    /// Which connection goes when a key or a user has too many.
    WhenFull {
        /// The oldest.
        CloseOldest = "close_oldest",
        /// The new one.
        RejectNew = "reject_new",
    }
    /// What happens to pushes for a client that reads too slowly.
    SlowConsumer {
        /// The new push is dropped.
        DropNewest = "drop_newest",
        /// The oldest waiting pushes are dropped.
        DropOldest = "drop_oldest",
        /// The connection is closed.
        Close = "close",
    }
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
    /// A danger that must be asked for by name.
    Insecure {
        /// Anybody who reaches a client listener may log in as anybody.
        OpenAuth = "open_auth",
        /// Anybody who reaches the HTTP listener may push.
        OpenIngress = "open_ingress",
        /// gRPC without TLS outside this machine.
        PlainGrpc = "plain_grpc",
        /// Tokens over HTTP without TLS outside this machine.
        PlainHttp = "plain_http",
    }
    /// Kinds of routes of the HTTP listener.
    HttpRoutes {
        /// Pushing.
        Push = "push",
        /// Counts, metrics and traces.
        Read = "read",
        /// Connections.
        Admin = "admin",
        /// The demo page.
        Demo = "demo",
    }
}
