//! PostgreSQL's md5 method: `md5(md5(password + user) + salt)`, in hexadecimal after the letters `md5`.
//! Source: PostgreSQL manual, "Message Flow", AuthenticationMD5Password.

use std::fmt;

use ::md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::credential::Password;

const PREFIX: &str = "md5";
const HEX_LEN: usize = 32;

/// The inner hash, `md5(password + user)` in lower-case hexadecimal: what `pg_authid.rolpassword` holds.
#[derive(Clone)]
pub struct Md5Secret {
    hex: String,
}

impl Md5Secret {
    pub fn from_password(password: &Password, user: &str) -> Self {
        Self { hex: md5_hex(password.as_str().as_bytes(), user.as_bytes()) }
    }

    /// Reads `md5` and 32 lower-case hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let is_hex = hex.len() == HEX_LEN && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self { hex: hex.to_owned() })
    }

    /// The answer to a server's or client's challenge with this salt.
    pub(super) fn response(&self, salt: [u8; 4]) -> String {
        format!("{PREFIX}{}", md5_hex(self.hex.as_bytes(), &salt))
    }

    /// Whether `response` answers the challenge; takes the same time wherever it differs.
    pub(super) fn verify(&self, salt: [u8; 4], response: &[u8]) -> bool {
        self.response(salt).as_bytes().ct_eq(response).into()
    }
}

impl fmt::Debug for Md5Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Secret(...)")
    }
}

fn md5_hex(head: &[u8], tail: &[u8]) -> String {
    let digest = Md5::new().chain_update(head).chain_update(tail).finalize();
    format!("{digest:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 4] = [0x2a, 0x3d, 0x8f, 0xe0];

    #[test]
    fn a_known_value_and_its_neighbours() {
        let secret = Md5Secret::from_password(&Password::new("password"), "md5_user");
        assert!(secret.verify(SALT, b"md562af4dd09bbb41884907a838a3233294"));
        assert!(!secret.verify(SALT, b"md562af4dd09bbb41884907a838a3233295"));
        assert!(!secret.verify([0; 4], b"md562af4dd09bbb41884907a838a3233294"));
        assert!(!secret.verify(SALT, b""));
    }

    #[test]
    fn a_stored_hash_serves_like_the_password() {
        let from_password = Md5Secret::from_password(&Password::new("password"), "md5_user");
        let stored = Md5Secret::parse(&format!("md5{}", from_password.hex)).unwrap();
        assert_eq!(stored.response(SALT), from_password.response(SALT));
        assert!(Md5Secret::parse("md5").is_none());
        assert!(Md5Secret::parse("md5ZZ46ccff1b8ae64ca0b9d4ce2a36b72a").is_none());
    }
}
