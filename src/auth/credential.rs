//! What is known about a user: a password or what is derived from one, and how the user has to prove it.

use std::fmt;

use super::md5::Md5Secret;
use super::secret::{self, ScramSecret};
use crate::types::{Error, Kind, Origin, Result};

/// The authentication method asked of a client; the words are those of `pg_hba.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Trust,
    Md5,
    ScramSha256,
}

/// A password in plain text, as it stands in the configuration. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a stored secret (`SCRAM-SHA-256$...` or `md5...`), with which nobody can log in to a server.
    pub fn is_secret(&self) -> bool {
        self.is_scram_secret() || Md5Secret::parse(&self.0).is_some()
    }

    fn is_scram_secret(&self) -> bool {
        self.0.starts_with(secret::PREFIX)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(...)")
    }
}

/// What a client's proof is checked against.
#[derive(Clone, Debug)]
pub enum Credential {
    /// No proof is asked.
    Trust,
    Md5(Md5Secret),
    Scram(ScramSecret),
}

impl Credential {
    /// Derives a credential from a password, or from a secret as `pg_authid.rolpassword` holds it.
    ///
    /// `salt` must be random and is used when a SCRAM secret has to be made. That costs 4096 hash rounds
    /// (milliseconds): make credentials when the configuration is read, not at each login.
    /// Like PostgreSQL, method md5 with a SCRAM secret means SCRAM; the reverse is an error.
    pub fn new(method: Method, user: &str, password: &Password, salt: &[u8; 16]) -> Result<Self> {
        if method == Method::Trust {
            return Ok(Self::Trust);
        }
        if password.is_scram_secret() {
            return ScramSecret::parse(&password.0).map(Self::Scram);
        }
        match (method, Md5Secret::parse(&password.0)) {
            (Method::Md5, Some(secret)) => Ok(Self::Md5(secret)),
            (Method::Md5, None) => Ok(Self::Md5(Md5Secret::from_password(password, user))),
            (_, Some(_)) => Err(md5_secret_for_scram(user)),
            (_, None) => Ok(Self::Scram(ScramSecret::from_password(password, salt, secret::DEFAULT_ITERATIONS))),
        }
    }
}

fn md5_secret_for_scram(user: &str) -> Error {
    Error::new(Origin::Weir, Kind::InvalidValue, format!("user \"{user}\" has an md5 secret but method scram-sha-256"))
        .hint("Give the password in plain text or as a SCRAM-SHA-256 secret, or set the method to md5.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const MD5: &str = "md56846ccff1b8ae64ca0b9d4ce2a36b72a";

    fn kind(method: Method, password: &str) -> &'static str {
        match Credential::new(method, "ann", &Password::new(password), &[7; 16]) {
            Ok(Credential::Trust) => "trust",
            Ok(Credential::Md5(_)) => "md5",
            Ok(Credential::Scram(_)) => "scram",
            Err(_) => "error",
        }
    }

    #[test]
    fn a_credential_follows_method_and_kind_of_secret() {
        let cases = [
            (Method::Trust, "", "trust"),
            (Method::Trust, SCRAM, "trust"),
            (Method::Md5, "plain", "md5"),
            (Method::Md5, MD5, "md5"),
            (Method::Md5, SCRAM, "scram"),
            (Method::ScramSha256, "plain", "scram"),
            (Method::ScramSha256, SCRAM, "scram"),
            (Method::ScramSha256, MD5, "error"),
            (Method::ScramSha256, "SCRAM-SHA-256$broken", "error"),
        ];
        for (method, password, expected) in cases {
            assert_eq!(kind(method, password), expected, "{method:?} {password}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let password = Password::new("hunter2");
        let md5 = Credential::new(Method::Md5, "ann", &password, &[7; 16]).unwrap();
        let scram = Credential::new(Method::ScramSha256, "ann", &password, &[7; 16]).unwrap();
        assert_eq!(
            format!("{password:?} {md5:?} {scram:?}"),
            "Password(...) Md5(Md5Secret(...)) Scram(ScramSecret(...))"
        );
        let error = Credential::new(Method::ScramSha256, "ann", &Password::new(MD5), &[7; 16]).unwrap_err();
        assert!(!format!("{error:?}").contains(MD5));
    }

    #[test]
    fn a_stored_secret_is_told_from_a_password() {
        assert!(Password::new(SCRAM).is_secret());
        assert!(Password::new(MD5).is_secret());
        assert!(!Password::new("md5 is old").is_secret());
    }
}
