//! Bearer tokens. Owns what a token may look like, how a file holds several, how a header holds one, and how two are
//! compared: in a time that tells nothing but their length. The program says which setting a token comes from, and what
//! it allows.

use std::fmt;

use subtle::ConstantTimeEq as _;

use super::Scope;

/// Characters of the shortest token.
pub const TOKEN_CHARACTERS_MIN: usize = 16;
/// Characters of the longest token.
pub const TOKEN_CHARACTERS_MAX: usize = 1024;
/// Tokens of one kind: those of today and of yesterday, and a few for different callers.
pub const TOKENS_MAX: usize = 16;

/// One token and what it allows. Comparing two takes a time that tells of them: not with what a stranger sends.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: Box<[u8]>,
    /// The setting that holds it, for logs.
    pub setting: &'static str,
    /// A bit for each scope that it allows.
    pub scopes: u8,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("setting", &self.setting).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// Why a text is no token. Its text never holds the token, and is the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Fewer than [`TOKEN_CHARACTERS_MIN`].
    Short(usize),
    /// More than [`TOKEN_CHARACTERS_MAX`].
    Long(usize),
    /// A character that RFC 6750 §2.1 does not allow.
    Character,
    /// More than [`TOKENS_MAX`] of one kind.
    TooMany(usize),
    /// A file without any.
    NoneInFile,
    /// A file that is not text.
    NotText,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Short(count) => write!(
                f,
                "has {count} characters, at least {TOKEN_CHARACTERS_MIN} are needed: `openssl rand -hex 24` makes a \
                 token"
            ),
            TokenError::Long(count) => write!(f, "has {count} characters, at most {TOKEN_CHARACTERS_MAX} are allowed"),
            TokenError::Character => {
                f.write_str("has a blank or another character that no token has: use letters, digits and - . _ ~ + / =")
            }
            TokenError::TooMany(count) => write!(f, "holds {count} tokens, at most {TOKENS_MAX} are allowed"),
            TokenError::NoneInFile => f.write_str("holds no token: write one a line"),
            TokenError::NotText => f.write_str("is not text: write one token a line"),
        }
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// A token that stands in `setting` and allows these scopes.
    pub fn new(text: &str, setting: &'static str, scopes: &[Scope]) -> Result<Token, TokenError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        match text.chars().count() {
            _ if !text.bytes().all(allowed) => Err(TokenError::Character),
            count if count < TOKEN_CHARACTERS_MIN => Err(TokenError::Short(count)),
            count if count > TOKEN_CHARACTERS_MAX => Err(TokenError::Long(count)),
            _ => {
                let scopes = scopes.iter().fold(0, |bits, scope| bits | 1 << scope.bit);
                Ok(Token { text: text.as_bytes().into(), setting, scopes })
            }
        }
    }

    /// Whether it allows this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes & 1 << scope.bit != 0
    }

    /// Each text once, in the order in which they come, with all that it allows; its setting is the first.
    pub(super) fn merged(tokens: Vec<Token>) -> Vec<Token> {
        let mut merged: Vec<Token> = Vec::with_capacity(tokens.len());
        for token in tokens {
            match merged.iter_mut().find(|known| known.text == token.text) {
                Some(known) => known.scopes |= token.scopes,
                None => merged.push(token),
            }
        }
        merged
    }

    /// The token that was given, if it is one of these. Each is looked at, so that the time taken does not tell which.
    pub(super) fn find<'t>(tokens: &'t [Token], given: &[u8]) -> Option<&'t Token> {
        tokens.iter().fold(None, |found, token| if bool::from(token.text.ct_eq(given)) { Some(token) } else { found })
    }
}

/// The lines of a token file: one token each, blank lines left out.
pub fn lines(file: &[u8]) -> Result<Vec<&str>, TokenError> {
    let text = std::str::from_utf8(file).map_err(|_| TokenError::NotText)?;
    let tokens: Vec<&str> = text.lines().map(str::trim_ascii).filter(|line| !line.is_empty()).collect();
    if tokens.is_empty() { Err(TokenError::NoneInFile) } else { Ok(tokens) }
}

/// The token in an `Authorization` value (RFC 6750 §2.1).
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Scope = Scope { bit: 0, what: "asking", setting: "ask_token", needs_this_machine: true };

    #[test]
    fn tokens_are_long_and_plain() {
        let new = |text: &str| Token::new(text, "ask_token", &[ASK]).map(|token| token.scopes);
        assert_eq!(new("0123456789abcde+"), Ok(1));
        assert_eq!(new("0123456789abcde"), Err(TokenError::Short(15)));
        assert_eq!(new(""), Err(TokenError::Short(0)));
        assert_eq!(new(&"x".repeat(1025)), Err(TokenError::Long(1025)));
        for wrong in
            ["0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdef,", "0123456789äbcdef", "\"0123456789abcdef"]
        {
            assert_eq!(new(wrong), Err(TokenError::Character), "{wrong}");
        }
        let shown = format!("{:?}", Token::new("0123456789abcdef", "ask_token", &[ASK]));
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn a_file_has_a_token_a_line() {
        assert_eq!(lines(b"one\n\n  two \r\nthree"), Ok(vec!["one", "two", "three"]));
        assert_eq!(lines(b" \n"), Err(TokenError::NoneInFile));
        assert_eq!(lines(b"\xff\xfe"), Err(TokenError::NotText));
    }

    #[test]
    fn tokens_are_taken_from_their_scheme() {
        assert_eq!(bearer(b"Bearer secret"), Some(&b"secret"[..]));
        assert_eq!(bearer(b"bearer  secret "), Some(&b"secret"[..]));
        assert_eq!((bearer(b"Basic secret"), bearer(b"Bearer")), (None, None));
    }

    #[test]
    fn only_the_whole_token_is_found() {
        let tokens = [Token::new("0123456789abcdef", "a", &[]), Token::new("0123456789abcdeg", "b", &[])];
        let tokens = tokens.map(|token| token.expect("a token"));
        let found = |given: &str| Token::find(&tokens, given.as_bytes()).map(|token| token.setting);
        assert_eq!((found("0123456789abcdef"), found("0123456789abcdeg")), (Some("a"), Some("b")));
        for wrong in ["", "0123456789abcde", "0123456789abcdeff", "0123456789ABCDEF"] {
            assert_eq!(found(wrong), None);
        }
    }
}
