//! A client's login, from the first Authentication message to AuthenticationOk.
//!
//! ```text
//!     start --trust-------------------------------------------------------------> Done
//!           --AuthenticationMD5Password--> PasswordMessage ---------------------> Done
//!           --AuthenticationSASL--> SASLInitialResponse --> SASLResponse -------> Done
//! ```
//! Source: PostgreSQL manual, "Message Flow", Start-up.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;

use super::SCRAM_SHA_256;
use super::credential::Credential;
use super::md5::Md5Secret;
use super::scram::{ScramChallenged, ScramServer, Verdict};
use super::secret::ScramSecret;
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::backend::Authentication;
use crate::wire::reader::Reader;

/// The random bytes of a login.
#[derive(Clone, Copy)]
pub struct Randomness {
    /// Fresh for each login.
    pub scram_nonce: [u8; 18],
    /// Fresh for each login.
    pub md5_salt: [u8; 4],
    /// One for the whole process: it decides what unknown users are shown.
    pub mock_key: [u8; 32],
}

/// A login that waits for the client's next message of type `p`.
#[derive(Debug)]
pub struct ClientLogin {
    user: String,
    awaits: Awaits,
}

#[derive(Debug)]
enum Awaits {
    PasswordMessage { secret: Md5Secret, salt: [u8; 4] },
    SaslInitialResponse(ScramServer),
    SaslResponse(ScramChallenged),
}

/// Where a client's login stands.
#[derive(Debug)]
pub enum ClientStep {
    /// Hand the body of the client's next PasswordMessage to this login.
    Continue(ClientLogin),
    /// The client is who it says; AuthenticationOk is written.
    Done,
}

impl ClientLogin {
    /// Begins the login of the StartupMessage's `user`; appends the first Authentication message.
    ///
    /// `credential` is `None` for a user that is not known: the client is led through a SCRAM exchange that fails.
    pub fn start(
        user: &str,
        credential: Option<&Credential>,
        randomness: &Randomness,
        out: &mut BytesMut,
    ) -> ClientStep {
        let awaits = match credential {
            Some(Credential::Trust) => {
                Authentication::Ok.write(out);
                return ClientStep::Done;
            }
            Some(Credential::Md5(secret)) => ask_md5(secret, randomness.md5_salt, out),
            Some(Credential::Scram(secret)) => ask_scram(secret.clone(), randomness, out),
            None => ask_scram(ScramSecret::mock(user, &randomness.mock_key), randomness, out),
        };
        ClientStep::Continue(Self { user: user.to_owned(), awaits })
    }

    /// Takes the body of a message of type `p`; appends Weir's answer, except to a login that failed: that is an error,
    /// to be sent as FATAL.
    pub fn password_message(self, body: &[u8], out: &mut BytesMut) -> Result<ClientStep> {
        let Self { user, awaits } = self;
        match awaits {
            Awaits::PasswordMessage { secret, salt } => {
                let accepted = secret.verify(salt, read_password(body)?);
                if !accepted {
                    return Err(password_failed(&user));
                }
            }
            Awaits::SaslInitialResponse(server) => {
                let (server_first, challenged) = server.client_first(read_initial_response(body)?)?;
                Authentication::SaslContinue(server_first.as_bytes()).write(out);
                return Ok(ClientStep::Continue(Self { user, awaits: Awaits::SaslResponse(challenged) }));
            }
            Awaits::SaslResponse(challenged) => match challenged.client_final(body)? {
                Verdict::Accepted(server_final) => Authentication::SaslFinal(server_final.as_bytes()).write(out),
                Verdict::Refused => return Err(password_failed(&user)),
            },
        }
        Authentication::Ok.write(out);
        Ok(ClientStep::Done)
    }
}

fn ask_md5(secret: &Md5Secret, salt: [u8; 4], out: &mut BytesMut) -> Awaits {
    Authentication::Md5Password { salt }.write(out);
    Awaits::PasswordMessage { secret: secret.clone(), salt }
}

fn ask_scram(secret: ScramSecret, randomness: &Randomness, out: &mut BytesMut) -> Awaits {
    Authentication::Sasl { mechanisms: vec![SCRAM_SHA_256] }.write(out);
    Awaits::SaslInitialResponse(ScramServer::new(secret, BASE64.encode(randomness.scram_nonce)))
}

/// PostgreSQL's own words, the same for a wrong password and for a user that does not exist.
fn password_failed(user: &str) -> Error {
    Error::new(Origin::Client, Kind::InvalidPassword, format!("password authentication failed for user \"{user}\""))
}

/// The text of a PasswordMessage.
fn read_password(body: &[u8]) -> Result<&[u8]> {
    let mut reader = Reader::new(body);
    match reader.cstr() {
        Ok(password) if reader.is_empty() => Ok(password),
        _ => Err(Error::protocol("invalid password packet size")),
    }
}

/// The client-first-message inside a SASLInitialResponse.
fn read_initial_response(body: &[u8]) -> Result<&[u8]> {
    let mut reader = Reader::new(body);
    if reader.cstr()? != SCRAM_SHA_256.as_bytes() {
        return Err(Error::protocol("client selected an invalid SASL authentication mechanism"));
    }
    // Length -1 stands for no initial response; SCRAM's first word is the client's, so it is required here.
    match reader.value()? {
        Some(client_first) if reader.is_empty() => Ok(client_first),
        Some(_) => Err(Error::protocol("invalid SASLInitialResponse: data after the initial response")),
        None => Err(Error::protocol("invalid SASLInitialResponse: no initial response")),
    }
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::md5_hash;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use postgres_protocol::message::frontend;

    use super::*;
    use crate::auth::{Method, Password};
    use crate::wire::frame::{self, HEADER_LEN, Sender};

    const RANDOMNESS: Randomness = Randomness { scram_nonce: [1; 18], md5_salt: [2; 4], mock_key: [3; 32] };

    fn credential(method: Method, password: &str) -> Credential {
        Credential::new(method, "ann", &Password::new(password), &[7; 16]).unwrap()
    }

    fn start(credential: Option<&Credential>) -> (ClientStep, BytesMut) {
        let mut out = BytesMut::new();
        let step = ClientLogin::start("ann", credential, &RANDOMNESS, &mut out);
        (step, out)
    }

    fn login(step: ClientStep) -> ClientLogin {
        match step {
            ClientStep::Continue(login) => login,
            ClientStep::Done => panic!("the login is over"),
        }
    }

    /// All Authentication messages in `out`, as (code, data).
    fn authentications(mut out: &[u8]) -> Vec<(i32, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(message) = frame::first(out, Sender::Server).unwrap() {
            let mut reader = Reader::new(message.body);
            messages.push((reader.i32().unwrap(), reader.rest().to_vec()));
            out = &out[message.raw.len()..];
        }
        messages
    }

    fn body(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut message = BytesMut::new();
        write(&mut message);
        message[HEADER_LEN..].to_vec()
    }

    /// Plays rust-postgres' client against a SCRAM login.
    fn play_scram(credential: Option<&Credential>, password: &str) -> Result<()> {
        let (step, out) = start(credential);
        assert_eq!(authentications(&out), [(10, b"SCRAM-SHA-256\0\0".to_vec())]);
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let initial = body(|out| frontend::sasl_initial_response(SCRAM_SHA_256, client.message(), out).unwrap());
        let mut out = BytesMut::new();
        let step = login(step).password_message(&initial, &mut out)?;
        let challenge = authentications(&out);
        assert_eq!(challenge[0].0, 11);
        client.update(&challenge[0].1).unwrap();
        let mut out = BytesMut::new();
        let step = login(step).password_message(client.message(), &mut out)?;
        assert!(matches!(step, ClientStep::Done));
        let ending = authentications(&out);
        assert_eq!([ending[0].0, ending[1].0], [12, 0]);
        client.finish(&ending[0].1).unwrap();
        Ok(())
    }

    fn assert_password_failed(error: &Error) {
        assert_eq!(error.sqlstate().as_str(), "28P01");
        assert_eq!(error.message, "password authentication failed for user \"ann\"");
        assert_eq!((&error.detail, &error.hint), (&None, &None));
    }

    #[test]
    fn trust_asks_nothing() {
        let (step, out) = start(Some(&Credential::Trust));
        assert!(matches!(step, ClientStep::Done));
        assert_eq!(authentications(&out), [(0, vec![])]);
    }

    #[test]
    fn scram_with_right_and_wrong_password() {
        let credential = credential(Method::ScramSha256, "pencil");
        play_scram(Some(&credential), "pencil").unwrap();
        assert_password_failed(&play_scram(Some(&credential), "pencils").unwrap_err());
    }

    #[test]
    fn an_unknown_user_fails_like_a_wrong_password() {
        assert_password_failed(&play_scram(None, "pencil").unwrap_err());
    }

    #[test]
    fn md5_with_right_and_wrong_password() {
        let credential = credential(Method::Md5, "pencil");
        let answer = |password: &[u8]| {
            let (step, out) = start(Some(&credential));
            assert_eq!(authentications(&out), [(5, vec![2; 4])]);
            let hash = md5_hash(b"ann", password, [2; 4]);
            let mut out = BytesMut::new();
            let step = login(step).password_message(format!("{hash}\0").as_bytes(), &mut out)?;
            assert_eq!(authentications(&out), [(0, vec![])]);
            Ok(matches!(step, ClientStep::Done))
        };
        assert!(answer(b"pencil").unwrap());
        assert_password_failed(&answer(b"pencils").unwrap_err());
    }

    #[test]
    fn malformed_messages_are_breaches_of_the_protocol() {
        let md5 = credential(Method::Md5, "pencil");
        let scram = credential(Method::ScramSha256, "pencil");
        let cases: [(&Credential, &[u8]); 9] = [
            (&md5, b""),
            (&md5, b"no end"),
            (&md5, b"one\0two\0"),
            (&scram, b""),
            (&scram, b"SCRAM-SHA-256\0"),
            (&scram, b"SCRAM-SHA-256-PLUS\0\0\0\0\x01n"),
            (&scram, b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            (&scram, b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r="),
            (&scram, b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=ajunk"),
        ];
        for (credential, body) in cases {
            let (step, _) = start(Some(credential));
            let error = login(step).password_message(body, &mut BytesMut::new()).unwrap_err();
            assert_eq!(error.sqlstate().as_str(), "08P01", "{}", String::from_utf8_lossy(body));
        }
    }
}
