//! What a server keeps of a password for SCRAM-SHA-256.
//! Source: RFC 5802 section 3; the text form is that of `pg_authid.rolpassword`.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::credential::Password;
use crate::types::{Error, Kind, Origin, Result};

/// How a SCRAM secret in text form begins.
pub(super) const PREFIX: &str = "SCRAM-SHA-256$";
/// PostgreSQL's default of `scram_iterations`.
pub(super) const DEFAULT_ITERATIONS: u32 = 4096;

/// A SHA-256 digest or HMAC.
pub(super) type Key = [u8; 32];

/// Salt, iterations and the two keys that verify a client's proof and make the server's own.
#[derive(Clone)]
pub struct ScramSecret {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    stored_key: Key,
    server_key: Key,
}

impl ScramSecret {
    /// Derives the secret; costs `iterations` rounds of HMAC.
    pub fn from_password(password: &Password, salt: &[u8], iterations: u32) -> Self {
        let mut salted_password = Key::default();
        pbkdf2::pbkdf2_hmac::<Sha256>(prepare(password).as_bytes(), salt, iterations, &mut salted_password);
        let client_key = hmac(&salted_password, b"Client Key");
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted_password, b"Server Key"),
        }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
    pub fn parse(text: &str) -> Result<Self> {
        // The text itself stays out of the error.
        Self::read(text).ok_or_else(|| Error::new(Origin::Weir, Kind::InvalidValue, "malformed SCRAM-SHA-256 secret"))
    }

    fn read(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|&count| count > 0)?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        })
    }

    /// A secret for a user that does not exist, so that an exchange looks the same as for one that does.
    ///
    /// The salt depends only on the user and on `mock_key`: asking twice gives the same one. The keys are derived from
    /// `mock_key`, and no client key is known that hashes to the stored one, so no proof is ever accepted.
    pub fn mock(user: &str, mock_key: &Key) -> Self {
        let salt = hmac(mock_key, format!("salt {user}").as_bytes());
        Self {
            salt: salt[..16].to_vec(),
            iterations: DEFAULT_ITERATIONS,
            stored_key: hmac(mock_key, format!("stored {user}").as_bytes()),
            server_key: hmac(mock_key, format!("server {user}").as_bytes()),
        }
    }

    /// Whether a client's proof of `auth_message` comes from the password; takes the same time wherever it differs.
    pub(super) fn verify(&self, auth_message: &[u8], proof: &Key) -> bool {
        let signature = hmac(&self.stored_key, auth_message);
        let client_key: Key = std::array::from_fn(|index| proof[index] ^ signature[index]);
        let claimed_key: Key = Sha256::digest(client_key).into();
        claimed_key.ct_eq(&self.stored_key).into()
    }

    /// The server's own proof of `auth_message`.
    pub(super) fn server_signature(&self, auth_message: &[u8]) -> Key {
        hmac(&self.server_key, auth_message)
    }
}

impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramSecret(...)")
    }
}

/// PostgreSQL's rule: SASLprep, and the bytes as they are where it does not apply.
fn prepare(password: &Password) -> Cow<'_, str> {
    stringprep::saslprep(password.as_str()).unwrap_or(Cow::Borrowed(password.as_str()))
}

fn hmac(key: &[u8], data: &[u8]) -> Key {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(data).finalize().into_bytes().into()
}

fn decode_key(text: &str) -> Option<Key> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // CREATE ROLE r PASSWORD 'pencil' with RFC 7677's salt.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn a_password_gives_the_secret_that_postgresql_stores() {
        let stored = ScramSecret::parse(PENCIL).unwrap();
        let derived = ScramSecret::from_password(&Password::new("pencil"), &stored.salt, 4096);
        assert_eq!(derived.stored_key, stored.stored_key);
        assert_eq!(derived.server_key, stored.server_key);
        assert_eq!((derived.iterations, derived.salt), (stored.iterations, stored.salt));
    }

    #[test]
    fn malformed_secrets_are_refused() {
        let cases = [
            "",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096:c2FsdA==",
            "SCRAM-SHA-256$x:c2FsdA==$AAAA:AAAA",
            "SCRAM-SHA-1$4096:c2FsdA==$AAAA:AAAA",
            &PENCIL.replace("4096", "0"),
            &PENCIL.replace("4096", "-1"),
            &PENCIL.replace("W22Z", "W2*Z"),
            &PENCIL[..PENCIL.len() - 4],
        ];
        for text in cases {
            assert_eq!(ScramSecret::parse(text).unwrap_err().message, "malformed SCRAM-SHA-256 secret", "{text}");
        }
    }

    #[test]
    fn passwords_are_prepared_where_saslprep_applies() {
        // RFC 4013: a soft hyphen is mapped to nothing, U+2168 to IX; control characters are prohibited: left as they are.
        let cases = [("I\u{ad}X", "IX"), ("\u{2168}", "IX"), ("a\u{7}b", "a\u{7}b"), ("plain", "plain")];
        for (password, prepared) in cases {
            assert_eq!(prepare(&Password::new(password)), prepared, "{password:?}");
        }
    }

    #[test]
    fn a_mock_secret_depends_on_user_and_key_only() {
        let salt = |user, key| ScramSecret::mock(user, &[key; 32]).salt;
        assert_eq!(salt("ann", 1), salt("ann", 1));
        assert_ne!(salt("ann", 1), salt("bob", 1));
        assert_ne!(salt("ann", 1), salt("ann", 2));
    }
}
