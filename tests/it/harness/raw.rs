//! A client that speaks the wire protocol message by message: for golden bytes and for misbehaviour.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use weir::wire::backend::{self, Authentication, ClientKey, ErrorFields};
use weir::wire::frame::{self, Sender};
use weir::wire::{frontend, startup};

/// No answer is awaited longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection. Every method panics on an unexpected answer or on silence.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    received: BytesMut,
    /// From BackendKeyData, once logged in.
    pub cancel_key: Option<ClientKey>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse: `b'C'` is the SQLSTATE, `b'M'` the message.
    pub fn field(&self, code: u8) -> Option<String> {
        let fields = ErrorFields::read(&self.body).expect("well-formed fields");
        fields.get(code).map(|text| text.into_owned())
    }

    /// Name and value of a ParameterStatus.
    pub fn parameter(&self) -> (String, String) {
        let (name, value) = backend::read_parameter_status(&self.body).expect("a ParameterStatus");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(name), text(value))
    }
}

impl RawClient {
    /// Opens the connection and sends nothing.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        Self { stream, received: BytesMut::new(), cancel_key: None }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer reads");
    }

    /// The sending direction, for another thread.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket")
    }

    /// Sends what `write` appends.
    pub fn send_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        write(&mut out);
        self.send(&out);
    }

    /// Sends a StartupMessage, answers SCRAM-SHA-256, and reads up to ReadyForQuery.
    pub fn log_in(&mut self, user: &str, password: &str, database: &str) {
        self.log_in_with(user, password, database, &[]);
    }

    /// The same with more parameters in the StartupMessage; gives the ParameterStatus messages.
    pub fn log_in_with(
        &mut self,
        user: &str,
        password: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let names = [("user", user), ("database", database)];
        self.send_with(|out| startup::startup_message(out, names.iter().chain(parameters).copied()));
        self.finish_login(password)
    }

    /// The rest of a login once the StartupMessage was sent; gives the ParameterStatus messages.
    pub fn finish_login(&mut self, password: &str) -> Vec<(String, String)> {
        self.authenticate(password);
        let mut reported = Vec::new();
        for message in self.until_ready() {
            match message.tag {
                backend::tag::BACKEND_KEY_DATA => {
                    self.cancel_key = Some(backend::read_client_key(&message.body).expect("a key"));
                }
                backend::tag::PARAMETER_STATUS => reported.push(message.parameter()),
                _ => {}
            }
        }
        reported
    }

    /// Answers the authentication requests of a server that wants SCRAM-SHA-256 or nothing.
    pub fn authenticate(&mut self, password: &str) {
        self.try_authenticate(password).unwrap_or_else(|refusal| panic!("not let in: {refusal:?}"));
    }

    /// The same, where the server may answer with an error.
    pub fn try_authenticate(&mut self, password: &str) -> Result<(), Message> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let message = self.next().expect("a message, not the end of the connection");
            if message.tag != backend::tag::AUTHENTICATION {
                return Err(message);
            }
            match Authentication::read(&message.body).expect("a known request") {
                Authentication::Ok => return Ok(()),
                Authentication::Sasl { mechanisms } => {
                    assert!(mechanisms.contains(&SCRAM_SHA_256), "{mechanisms:?}");
                    self.send_with(|out| sasl_initial_response(out, scram.message()));
                }
                Authentication::SaslContinue(data) => {
                    scram.update(data).expect("a SCRAM challenge");
                    self.send_with(|out| {
                        frontend::message(out, frontend::tag::PASSWORD, |body| body.extend_from_slice(scram.message()));
                    });
                }
                Authentication::SaslFinal(data) => scram.finish(data).expect("the server knows the password"),
                other => panic!("unexpected authentication request {other:?}"),
            }
        }
    }

    /// Sends a simple Query and gives the whole answer, ReadyForQuery included.
    pub fn query(&mut self, text: &str) -> Vec<Message> {
        self.send_with(|out| frontend::query(out, text));
        self.until_ready()
    }

    /// The next message, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Message {
        let message = self.next().expect("a message, not the end of the connection");
        assert_eq!(message.tag as char, tag as char, "{message:?}");
        message
    }

    /// Messages up to and with ReadyForQuery.
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().expect("ReadyForQuery before the end of the connection");
            let done = message.tag == backend::tag::READY_FOR_QUERY;
            messages.push(message);
            if done {
                return messages;
            }
        }
    }

    /// The next message, or `None` when the peer has closed the connection.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(found) = frame::first(&self.received, Sender::Server).expect("a well-formed message") {
                let (message, len) = (Message { tag: found.tag, body: found.body.to_vec() }, found.raw.len());
                let _ = self.received.split_to(len);
                return Some(message);
            }
            if !self.receive() {
                assert!(self.received.is_empty(), "the connection ended inside a message: {:?}", self.received);
                return None;
            }
        }
    }

    /// The next `len` bytes as they are: the answer to SSLRequest, for example.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.receive(), "the connection ended");
        }
        self.received.split_to(len).to_vec()
    }

    /// Everything up to the end of the connection.
    pub fn until_end(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Reads once; false at the end of the connection.
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(len) => {
                self.received.extend_from_slice(&chunk[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

fn sasl_initial_response(out: &mut BytesMut, data: &[u8]) {
    frontend::message(out, frontend::tag::PASSWORD, |body| {
        body.extend_from_slice(SCRAM_SHA_256.as_bytes());
        body.extend_from_slice(&[0]);
        body.extend_from_slice(&u32::try_from(data.len()).expect("a short message").to_be_bytes());
        body.extend_from_slice(data);
    });
}
