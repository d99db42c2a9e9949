//! Who asks. No secret shows in `Debug`, in an error, or in memory after it is dropped.

use core::fmt;

use crate::code::Code;

/// How requests prove who sends them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Credentials<'a> {
    /// Not at all.
    #[default]
    None,
    /// By a token in `X-Auth-Token`; tokens of the service live 24 hours.
    Token(Secret<'a>),
    /// By a signature, `SDK-HMAC-SHA256`.
    Keys(Keys<'a>),
}

impl<'a> Credentials<'a> {
    /// A token, borrowed. See [`Secret`] for who wipes it.
    pub const fn token(token: &'a str) -> Self {
        Credentials::Token(Secret::borrowed(token))
    }

    /// An access key and its secret key, borrowed.
    pub const fn keys(access_key: &'a str, secret_key: &'a str) -> Self {
        Credentials::Keys(Keys::new(access_key, secret_key))
    }

    /// Whether they can be used: no empty part, nothing that cannot stand in a header.
    pub fn check(&self) -> Result<(), Code> {
        match self {
            Credentials::None => Ok(()),
            Credentials::Token(token) => header_safe(token.expose(), Code::Token),
            Credentials::Keys(keys) => keys.check(),
        }
    }

    /// A copy that owns its secrets, and wipes them when dropped.
    #[cfg(feature = "alloc")]
    pub fn to_owned(&self) -> Credentials<'static> {
        match self {
            Credentials::None => Credentials::None,
            Credentials::Token(token) => Credentials::Token(token.to_owned()),
            Credentials::Keys(keys) => Credentials::Keys(Keys {
                access_key: keys.access_key.to_owned(),
                secret_key: keys.secret_key.to_owned(),
                security_token: keys.security_token.as_ref().map(Secret::to_owned),
            }),
        }
    }
}

/// A key pair, with the security token that temporary ones need.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    access_key: Secret<'a>,
    secret_key: Secret<'a>,
    security_token: Option<Secret<'a>>,
}

impl<'a> Keys<'a> {
    /// An access key and its secret key, borrowed.
    pub const fn new(access_key: &'a str, secret_key: &'a str) -> Self {
        Keys {
            access_key: Secret::borrowed(access_key),
            secret_key: Secret::borrowed(secret_key),
            security_token: None,
        }
    }

    /// With the security token of a temporary key pair; it is sent and signed as `X-Security-Token`.
    #[must_use]
    pub fn with_security_token(mut self, token: &'a str) -> Self {
        self.security_token = Some(Secret::borrowed(token));
        self
    }

    pub(super) fn access_key(&self) -> &str {
        self.access_key.expose()
    }

    pub(super) fn secret_key(&self) -> &str {
        self.secret_key.expose()
    }

    pub(super) fn security_token(&self) -> Option<&str> {
        self.security_token.as_ref().map(Secret::expose)
    }

    pub(super) fn check(&self) -> Result<(), Code> {
        let access_key = self.access_key();
        header_safe(access_key, Code::AccessKey)?;
        // It ends at the comma in `Access=…, SignedHeaders=…`.
        if access_key.bytes().any(|b| matches!(b, b',' | b' ')) {
            return Err(Code::AccessKey);
        }
        // A line break at the end of a file is no part of a key.
        let secret_key = self.secret_key();
        if secret_key.is_empty() || secret_key.trim_ascii() != secret_key {
            return Err(Code::SecretKey);
        }
        self.security_token()
            .map_or(Ok(()), |token| header_safe(token, Code::Token))
    }
}

fn header_safe(text: &str, code: Code) -> Result<(), Code> {
    let safe = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let trimmed = !text.starts_with(" ") && !text.ends_with(" ");
    if safe && trimmed { Ok(()) } else { Err(code) }
}

/// A text that is never shown.
///
/// A borrowed one is wiped by its owner; one made with `to_owned` (feature `alloc`) when it is dropped.
#[derive(Clone)]
pub struct Secret<'a>(Text<'a>);

#[derive(Clone)]
enum Text<'a> {
    Borrowed(&'a str),
    #[cfg(feature = "alloc")]
    Owned(zeroize::Zeroizing<alloc::string::String>),
}

impl<'a> Secret<'a> {
    /// Borrows a text.
    pub const fn borrowed(text: &'a str) -> Self {
        Secret(Text::Borrowed(text))
    }

    /// The text itself.
    pub(super) fn expose(&self) -> &str {
        match &self.0 {
            Text::Borrowed(text) => text,
            #[cfg(feature = "alloc")]
            Text::Owned(text) => text,
        }
    }

    #[cfg(feature = "alloc")]
    fn to_owned(&self) -> Secret<'static> {
        Secret(Text::Owned(zeroize::Zeroizing::new(self.expose().into())))
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
