//! Weir's own login at a server: answers its Authentication messages.
//!
//! ```text
//!     Request --AuthenticationOk-------------------------------------------------------------> Done
//!             --cleartext, md5--> Verdict --AuthenticationOk---------------------------------> Done
//!             --SASL--> SaslContinue --> SaslFinal --(server's proof holds)--> Verdict ------> Done
//! ```
//! A server that breaks off a SCRAM exchange with AuthenticationOk has not proved that it knows the password: refused.

use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::SCRAM_SHA_256;
use super::credential::Password;
use super::md5::Md5Secret;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::Authentication;
use crate::wire::frontend::{self, tag};

/// A login that waits for the server's next Authentication message.
pub struct ServerLogin {
    shard: ShardId,
    user: String,
    password: Option<Password>,
    awaits: Awaits,
}

enum Awaits {
    Request,
    SaslContinue(ScramSha256),
    SaslFinal(ScramSha256),
    Verdict,
}

/// Where a login at a server stands.
pub enum ServerStep {
    /// Hand the server's next Authentication message to this login.
    Continue(ServerLogin),
    /// The server took the login; its ParameterStatus messages follow.
    Done,
}

impl ServerLogin {
    /// A login at a server of `shard`, for errors; `password` is in plain text, and `None` where the server trusts.
    pub fn new(shard: ShardId, user: &str, password: Option<Password>) -> Self {
        Self { shard, user: user.to_owned(), password, awaits: Awaits::Request }
    }

    /// Whether the server's next message asks for a SCRAM proof, which takes milliseconds.
    pub fn proves_next(&self) -> bool {
        matches!(self.awaits, Awaits::SaslContinue(_))
    }

    /// Takes an Authentication message; appends the answer, if one is due.
    pub fn authentication(mut self, message: &Authentication<'_>, out: &mut BytesMut) -> Result<ServerStep> {
        let awaits = std::mem::replace(&mut self.awaits, Awaits::Request);
        self.awaits = match (awaits, message) {
            (Awaits::Request | Awaits::Verdict, Authentication::Ok) => return Ok(ServerStep::Done),
            (Awaits::Request, Authentication::CleartextPassword) => self.send_cleartext(out)?,
            (Awaits::Request, Authentication::Md5Password { salt }) => self.send_md5(*salt, out)?,
            (Awaits::Request, Authentication::Sasl { mechanisms }) => self.begin_scram(mechanisms, out)?,
            (Awaits::Request, Authentication::Unsupported(code)) => return Err(self.unsupported(*code)),
            (Awaits::SaslContinue(scram), Authentication::SaslContinue(data)) => self.prove(scram, data, out)?,
            (Awaits::SaslFinal(scram), Authentication::SaslFinal(data)) => self.check_server(scram, data)?,
            (_, unexpected) => return Err(self.unexpected(unexpected)),
        };
        Ok(ServerStep::Continue(self))
    }

    fn send_cleartext(&self, out: &mut BytesMut) -> Result<Awaits> {
        put_password(out, self.password()?.as_str().as_bytes());
        Ok(Awaits::Verdict)
    }

    fn send_md5(&self, salt: [u8; 4], out: &mut BytesMut) -> Result<Awaits> {
        let response = Md5Secret::from_password(self.password()?, &self.user).response(salt);
        put_password(out, response.as_bytes());
        Ok(Awaits::Verdict)
    }

    fn begin_scram(&self, mechanisms: &[&str], out: &mut BytesMut) -> Result<Awaits> {
        if !mechanisms.contains(&SCRAM_SHA_256) {
            return Err(self.failed(format!("the server offers only {}", mechanisms.join(", "))));
        }
        let scram = ScramSha256::new(self.password()?.as_str().as_bytes(), ChannelBinding::unsupported());
        put_initial_response(out, scram.message());
        Ok(Awaits::SaslContinue(scram))
    }

    fn prove(&self, mut scram: ScramSha256, data: &[u8], out: &mut BytesMut) -> Result<Awaits> {
        scram.update(data).map_err(|error| self.failed("its SCRAM challenge is not valid").source(error))?;
        frontend::message(out, tag::PASSWORD, |body| body.put_slice(scram.message()));
        Ok(Awaits::SaslFinal(scram))
    }

    fn check_server(&self, mut scram: ScramSha256, data: &[u8]) -> Result<Awaits> {
        scram
            .finish(data)
            .map_err(|error| self.failed("it could not prove that it knows the password").source(error))?;
        Ok(Awaits::Verdict)
    }

    fn password(&self) -> Result<&Password> {
        match &self.password {
            Some(password) if !password.is_secret() => Ok(password),
            Some(_) => Err(self
                .failed("it asks for a password, but only a stored secret is known")
                .hint("Give the user's server_password in plain text.")),
            None => Err(self
                .failed("it asks for a password, but none is configured")
                .hint("Give the user a password or a server_password.")),
        }
    }

    fn unsupported(&self, code: i32) -> Error {
        self.failed(format!("it asks for authentication method {code}"))
            .hint("Weir can answer scram-sha-256, md5, password and trust.")
    }

    fn unexpected(&self, message: &Authentication<'_>) -> Error {
        let name = match message {
            Authentication::Ok => "AuthenticationOk before its own proof",
            Authentication::CleartextPassword => "AuthenticationCleartextPassword",
            Authentication::Md5Password { .. } => "AuthenticationMD5Password",
            Authentication::Sasl { .. } => "AuthenticationSASL",
            Authentication::SaslContinue(_) => "AuthenticationSASLContinue",
            Authentication::SaslFinal(_) => "AuthenticationSASLFinal",
            Authentication::Unsupported(_) => "an unknown authentication request",
        };
        self.failed(format!("it sent {name} where that has no place"))
    }

    fn failed(&self, reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        let message = format!("could not log in to the server as user \"{}\"", self.user);
        Error::new(Origin::Server(self.shard), Kind::ServerUnavailable, message).detail(reason)
    }
}

fn put_password(out: &mut BytesMut, password: &[u8]) {
    frontend::message(out, tag::PASSWORD, |body| {
        body.put_slice(password);
        body.put_u8(0);
    });
}

/// SASLInitialResponse; the data are a few dozen bytes of our own.
fn put_initial_response(out: &mut BytesMut, data: &[u8]) {
    frontend::message(out, tag::PASSWORD, |body| {
        body.put_slice(SCRAM_SHA_256.as_bytes());
        body.put_u8(0);
        body.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        body.put_slice(data);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ClientLogin, ClientStep, Credential, Method, Randomness};
    use crate::wire::frame::{self, Frame, HEADER_LEN, Sender};

    const RANDOMNESS: Randomness = Randomness { scram_nonce: [1; 18], md5_salt: [2; 4], mock_key: [3; 32] };

    fn login(password: Option<&str>) -> ServerLogin {
        ServerLogin::new(ShardId(1), "ann", password.map(Password::new))
    }

    fn step(login: ServerLogin, message: &Authentication<'_>) -> Result<(ServerStep, BytesMut)> {
        let mut out = BytesMut::new();
        login.authentication(message, &mut out).map(|step| (step, out))
    }

    fn go_on(step: ServerStep) -> ServerLogin {
        match step {
            ServerStep::Continue(login) => login,
            ServerStep::Done => panic!("the login is over"),
        }
    }

    fn failure(login: ServerLogin, message: &Authentication<'_>) -> String {
        match step(login, message) {
            Ok(_) => panic!("{message:?} was taken"),
            Err(error) => error.to_string(),
        }
    }

    /// Lets both of Weir's sides log in to each other.
    fn play(method: Method, stored: &str, given: &str) -> Result<()> {
        let credential = Credential::new(method, "ann", &Password::new(stored), &[7; 16])?;
        let mut to_login = BytesMut::new();
        let mut client_step = ClientLogin::start("ann", Some(&credential), &RANDOMNESS, &mut to_login);
        let mut login = login(Some(given));
        loop {
            let mut to_peer = BytesMut::new();
            while let Some(Frame { body, raw, .. }) = frame::first(&to_login, Sender::Server)? {
                match login.authentication(&Authentication::read(body)?, &mut to_peer)? {
                    ServerStep::Done => return Ok(()),
                    ServerStep::Continue(next) => login = next,
                }
                let len = raw.len();
                drop(to_login.split_to(len));
            }
            let ClientStep::Continue(peer) = client_step else { panic!("no end") };
            client_step = peer.password_message(&to_peer[HEADER_LEN..], &mut to_login)?;
        }
    }

    #[test]
    fn each_method_with_right_and_wrong_password() {
        for method in [Method::Trust, Method::Md5, Method::ScramSha256] {
            play(method, "pencil", "pencil").unwrap();
        }
        for method in [Method::Md5, Method::ScramSha256] {
            let error = play(method, "pencil", "pencils").unwrap_err();
            assert_eq!(error.sqlstate().as_str(), "28P01", "{method:?}");
        }
    }

    #[test]
    fn a_cleartext_password_is_sent_as_it_is() {
        let (next, out) = step(login(Some("pencil")), &Authentication::CleartextPassword).unwrap();
        assert_eq!(&out[..], b"p\0\0\0\x0bpencil\0");
        assert!(matches!(step(go_on(next), &Authentication::Ok).unwrap().0, ServerStep::Done));
    }

    #[test]
    fn a_server_that_skips_its_proof_is_refused() {
        let sasl = Authentication::Sasl { mechanisms: vec![SCRAM_SHA_256] };
        let (next, _) = step(login(Some("pencil")), &sasl).unwrap();
        assert!(failure(go_on(next), &Authentication::Ok).contains("AuthenticationOk before its own proof"));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_refused() {
        let sasl = Authentication::Sasl { mechanisms: vec!["SCRAM-SHA-256-PLUS", SCRAM_SHA_256] };
        let (next, out) = step(login(Some("pencil")), &sasl).unwrap();
        let client_nonce = String::from_utf8_lossy(&out).split_once(",r=").unwrap().1.to_owned();
        let challenge = format!("r={client_nonce}server,s=c2FsdA==,i=2");
        let (next, _) = step(go_on(next), &Authentication::SaslContinue(challenge.as_bytes())).unwrap();
        let proof = Authentication::SaslFinal(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(failure(go_on(next), &proof).contains("could not prove that it knows the password"));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let secret = "md56846ccff1b8ae64ca0b9d4ce2a36b72a";
        let cases = [
            (None, Authentication::CleartextPassword, "none is configured"),
            (Some(secret), Authentication::Md5Password { salt: [1; 4] }, "only a stored secret is known"),
            (Some("pencil"), Authentication::Sasl { mechanisms: vec!["OAUTHBEARER"] }, "offers only OAUTHBEARER"),
            (Some("pencil"), Authentication::Unsupported(7), "authentication method 7"),
            (Some("pencil"), Authentication::SaslContinue(b"r=x"), "AuthenticationSASLContinue"),
            (Some("pencil"), Authentication::SaslFinal(b"v=x"), "AuthenticationSASLFinal"),
        ];
        for (password, message, expected) in cases {
            let text = failure(login(password), &message);
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("pencil") && !text.contains(secret), "{text}");
        }
    }
}
