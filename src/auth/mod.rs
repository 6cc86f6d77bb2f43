//! Authentication on both sides: Weir asks its clients for a proof, and gives one to its servers.
//! Bytes in, bytes out; randomness is passed in, so that a test can replay a recorded exchange.
//!
//! [`ClientLogin`] stands where PostgreSQL's `ClientAuthentication` stands, [`ServerLogin`] where libpq stands.
//! A step consumes the login and gives the next one: an exchange that failed cannot be taken further.
//! Passwords and secrets appear in no error and in no Debug output.

mod client;
mod credential;
mod md5;
mod scram;
mod secret;
mod server;

pub use client::{ClientLogin, ClientStep, Randomness};
pub use credential::{Credential, Method, Password};
pub use md5::Md5Secret;
pub use scram::{ScramChallenged, ScramServer, Verdict};
pub use secret::ScramSecret;
pub use server::{ServerLogin, ServerStep};

/// The name of the one SASL mechanism that Weir offers and answers.
const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
