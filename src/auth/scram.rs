//! The server's side of SCRAM-SHA-256, without channel binding.
//!
//! ```text
//!     ScramServer --client-first / server-first--> ScramChallenged --client-final / server-final--> Verdict
//! ```
//! Source: RFC 5802 and RFC 7677; errors and leniency are those of PostgreSQL's `auth-scram.c`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::secret::{Key, ScramSecret};
use crate::types::{Error, Result};

/// An exchange that waits for the client-first-message.
#[derive(Debug)]
pub struct ScramServer {
    secret: ScramSecret,
    server_nonce: String,
}

/// An exchange that waits for the client-final-message.
#[derive(Debug)]
pub struct ScramChallenged {
    secret: ScramSecret,
    /// The GS2 header of the client-first-message; the client has to repeat it.
    gs2_header: String,
    /// The client's and the server's nonce, joined.
    nonce: String,
    /// client-first-message-bare and server-first-message, joined as in the AuthMessage.
    first_messages: String,
}

/// What the client's proof was worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client knows the password; this is the server-final-message for it.
    Accepted(String),
    /// It does not.
    Refused,
}

impl ScramServer {
    /// `server_nonce` must be printable ASCII without a comma, and never used before.
    pub fn new(secret: ScramSecret, server_nonce: String) -> Self {
        Self { secret, server_nonce }
    }

    /// Takes the client-first-message; gives the server-first-message. The user name in it is ignored, as PostgreSQL
    /// does: the StartupMessage's counts.
    pub fn client_first(self, message: &[u8]) -> Result<(String, ScramChallenged)> {
        let text = message_text(message)?;
        let (gs2_header, bare) = split_gs2_header(text)?;
        let nonce = format!("{}{}", client_nonce(bare)?, self.server_nonce);
        let salt = BASE64.encode(&self.secret.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.secret.iterations);
        let first_messages = format!("{bare},{server_first}");
        let challenged =
            ScramChallenged { secret: self.secret, gs2_header: gs2_header.to_owned(), nonce, first_messages };
        Ok((server_first, challenged))
    }
}

impl ScramChallenged {
    /// Takes the client-final-message; an error is a breach of the protocol, a wrong password is a [`Verdict`].
    pub fn client_final(self, message: &[u8]) -> Result<Verdict> {
        let text = message_text(message)?;
        // Base64 has no comma: the last attribute is the proof.
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or_else(|| malformed("No proof at the end of client-final-message."))?;
        self.check(without_proof)?;
        let proof = decode_proof(proof)?;
        let auth_message = format!("{},{without_proof}", self.first_messages);
        if !self.secret.verify(auth_message.as_bytes(), &proof) {
            return Ok(Verdict::Refused);
        }
        let signature = self.secret.server_signature(auth_message.as_bytes());
        Ok(Verdict::Accepted(format!("v={}", BASE64.encode(signature))))
    }

    fn check(&self, without_proof: &str) -> Result<()> {
        let mut attributes = Attributes::new(without_proof);
        if attributes.expect('c')? != BASE64.encode(&self.gs2_header) {
            return Err(Error::protocol("unexpected SCRAM channel-binding attribute in client-final-message"));
        }
        if attributes.expect('r')? != self.nonce {
            return Err(Error::protocol("invalid SCRAM response").detail("Nonce does not match."));
        }
        attributes.skip_extensions()
    }
}

/// The GS2 header with its two commas, and the client-first-message-bare.
fn split_gs2_header(text: &str) -> Result<(&str, &str)> {
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("Comma expected, but the message ends."));
    };
    check_binding_flag(flag)?;
    if !authzid.is_empty() {
        return Err(Error::refuse(
            "client uses authorization identity, but it is not supported",
            "The SCRAM exchange asks to act as another user than the one that logs in.",
        ));
    }
    Ok((&text[..text.len() - bare.len()], bare))
}

/// 'n': no channel binding; 'y': the client could, but believes that the server cannot, and is right.
fn check_binding_flag(flag: &str) -> Result<()> {
    match flag {
        "n" | "y" => Ok(()),
        _ if flag.starts_with('p') => Err(malformed(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding \
             data.",
        )),
        _ => Err(malformed("Unexpected channel-binding flag.")),
    }
}

fn client_nonce(bare: &str) -> Result<&str> {
    if bare.starts_with('m') {
        return Err(Error::refuse(
            "client requires an unsupported SCRAM extension",
            "The client-first-message has a mandatory extension (attribute m).",
        ));
    }
    let mut attributes = Attributes::new(bare);
    attributes.expect('n')?;
    let nonce = attributes.expect('r')?;
    attributes.skip_extensions()?;
    if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("Empty SCRAM nonce, or non-printable characters in it."));
    }
    Ok(nonce)
}

fn decode_proof(proof: &str) -> Result<Key> {
    let bytes = BASE64.decode(proof).ok().and_then(|bytes| Key::try_from(bytes).ok());
    bytes.ok_or_else(|| malformed("Malformed proof in client-final-message."))
}

/// The attributes `letter=value` of a SCRAM message, one after the other.
struct Attributes<'a> {
    rest: std::str::Split<'a, char>,
}

impl<'a> Attributes<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.split(',') }
    }

    /// The value of the next attribute, which must have this name.
    fn expect(&mut self, name: char) -> Result<&'a str> {
        let attribute = self.rest.next().unwrap_or_default();
        attribute
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
            .ok_or_else(|| malformed(format!("Expected attribute \"{name}\".")))
    }

    /// Reads all that is left: extensions are ignored, but have to look like attributes.
    fn skip_extensions(self) -> Result<()> {
        for attribute in self.rest {
            match attribute.as_bytes() {
                [name, b'=', ..] if name.is_ascii_alphabetic() => {}
                _ => return Err(malformed("Attribute expected, but found something else.")),
            }
        }
        Ok(())
    }
}

fn message_text(message: &[u8]) -> Result<&str> {
    match std::str::from_utf8(message) {
        Ok("") => Err(malformed("The message is empty.")),
        Ok(text) if text.contains('\0') => Err(malformed("Message length does not match input length.")),
        Ok(text) => Ok(text),
        Err(_) => Err(malformed("The message is not UTF-8.")),
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::protocol("malformed SCRAM message").detail(detail)
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Password;

    // The example exchange of RFC 7677 section 3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn secret(password: &str, iterations: u32) -> ScramSecret {
        ScramSecret::from_password(&Password::new(password), &BASE64.decode(SALT).unwrap(), iterations)
    }

    fn server(password: &str) -> ScramServer {
        ScramServer::new(secret(password, 4096), SERVER_NONCE.to_owned())
    }

    fn challenged(password: &str) -> ScramChallenged {
        server(password).client_first(CLIENT_FIRST.as_bytes()).unwrap().1
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let (server_first, challenged) = server("pencil").client_first(CLIENT_FIRST.as_bytes()).unwrap();
        assert_eq!(server_first, SERVER_FIRST);
        let verdict = challenged.client_final(CLIENT_FINAL.as_bytes()).unwrap();
        assert_eq!(verdict, Verdict::Accepted(SERVER_FINAL.to_owned()));
    }

    #[test]
    fn another_password_is_refused() {
        assert_eq!(challenged("pencils").client_final(CLIENT_FINAL.as_bytes()).unwrap(), Verdict::Refused);
    }

    #[test]
    fn a_mock_secret_accepts_nothing() {
        let server = ScramServer::new(ScramSecret::mock("user", &[7; 32]), SERVER_NONCE.to_owned());
        let challenged = server.client_first(CLIENT_FIRST.as_bytes()).unwrap().1;
        assert_eq!(challenged.client_final(CLIENT_FINAL.as_bytes()).unwrap(), Verdict::Refused);
    }

    #[test]
    fn bad_client_first_messages() {
        let cases: [(&[u8], &str); 14] = [
            (b"", "08P01"),
            (b"n,,n=,r=ab\0", "08P01"),
            (b"n,,n=\xff,r=ab", "08P01"),
            (b"n", "08P01"),
            (b"n,", "08P01"),
            (b"n,,", "08P01"),
            (b"x,,n=,r=ab", "08P01"),
            (b"p=tls-server-end-point,,n=,r=ab", "08P01"),
            (b"n,a=bob,n=,r=ab", "0A000"),
            (b"n,,m=ext,n=,r=ab", "0A000"),
            (b"n,,n=", "08P01"),
            (b"n,,n=,r=", "08P01"),
            (b"n,,n=,r=a b", "08P01"),
            (b"n,,n=,r=ab,junk", "08P01"),
        ];
        for (message, sqlstate) in cases {
            let error = server("pencil").client_first(message).unwrap_err();
            assert_eq!(error.sqlstate().as_str(), sqlstate, "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn bad_client_final_messages() {
        let cases = [
            String::new(),
            "p=AAAA".to_owned(),
            CLIENT_FINAL.replace("biws", "eSws"),
            CLIENT_FINAL.replace("c=biws,", ""),
            CLIENT_FINAL.replace("r=rOpr", "r=rOps"),
            CLIENT_FINAL.replace(",r=", ",q="),
            CLIENT_FINAL.replace(",p=", ",junk,p="),
            CLIENT_FINAL.replace("ndVQ=", "ndVQ"),
            CLIENT_FINAL.replace("ndVQ=", "ndVQ=,z=trailing"),
            CLIENT_FINAL.replace("dHzb", "d zb"),
        ];
        for message in cases {
            let error = challenged("pencil").client_final(message.as_bytes()).unwrap_err();
            assert_eq!(error.sqlstate().as_str(), "08P01", "{message}");
        }
    }

    #[test]
    fn a_message_cut_short_is_never_accepted() {
        let challenged = || challenged("pencil");
        for end in 0..CLIENT_FINAL.len() {
            match challenged().client_final(&CLIENT_FINAL.as_bytes()[..end]) {
                Ok(verdict) => assert_eq!(verdict, Verdict::Refused),
                Err(error) => assert_eq!(error.sqlstate().as_str(), "08P01"),
            }
        }
    }

    #[test]
    fn optional_extensions_and_the_y_flag_are_taken() {
        let (_, challenged) = server("pencil").client_first(b"y,,n=user,r=abc,x=more").unwrap();
        assert_eq!(challenged.gs2_header, "y,,");
        let message = format!("c=eSws,r=abc{SERVER_NONCE},x=more,p={}", BASE64.encode([0; 32]));
        assert_eq!(challenged.client_final(message.as_bytes()).unwrap(), Verdict::Refused);
    }

    /// An exchange with rust-postgres' client; whether both sides are content.
    fn exchange(client_password: &str, server_password: &str) -> bool {
        let mut client = ScramSha256::new(client_password.as_bytes(), ChannelBinding::unsupported());
        let server = ScramServer::new(secret(server_password, 2), "server".to_owned());
        let (server_first, challenged) = server.client_first(client.message()).unwrap();
        client.update(server_first.as_bytes()).unwrap();
        match challenged.client_final(client.message()).unwrap() {
            Verdict::Accepted(server_final) => client.finish(server_final.as_bytes()).is_ok(),
            Verdict::Refused => false,
        }
    }

    proptest! {
        #[test]
        fn any_password_opens_its_own_lock(password in ".*") {
            prop_assert!(exchange(&password, &password));
        }

        #[test]
        fn no_other_password_does(password in "[a-z]{1,8}", other in "[A-Z]{1,8}") {
            prop_assert!(!exchange(&password, &other));
        }

        #[test]
        fn no_bytes_break_the_exchange(first in any::<Vec<u8>>(), last in any::<Vec<u8>>()) {
            let server = || ScramServer::new(ScramSecret::mock("user", &[7; 32]), "server".to_owned());
            let _ = server().client_first(&first);
            let challenged = server().client_first(b"n,,n=,r=client").unwrap().1;
            prop_assert!(!matches!(challenged.client_final(&last), Ok(Verdict::Accepted(_))));
        }
    }
}
