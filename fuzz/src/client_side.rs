//! Whatever a client sends: frames, every message's reader, the first packet. Nothing panics, and what was read is a
//! part of what was sent.

use bytes::BytesMut;
use weir::session::settings::Settings;
use weir::wire::frame::{self, Sender};
use weir::wire::frontend::{self, Bind, Parse, Target};
use weir::wire::startup::{self, Packet};

/// Reads the bytes as a first packet, and as messages.
pub fn check(data: &[u8]) {
    first_packet(data);
    messages(data);
    bodies(data);
}

fn first_packet(data: &[u8]) {
    let Ok(Some((packet, len))) = startup::read(data) else { return };
    assert!(len <= data.len(), "read beyond the end");
    let Packet::Startup(message) = packet else { return };
    // What was read can be written, and reads the same.
    let mut again = BytesMut::new();
    let pairs = message.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    startup::startup_message(&mut again, pairs);
    if let Ok(Some((Packet::Startup(copy), _))) = startup::read(&again) {
        assert_eq!(copy.parameters, message.parameters);
    }
    if let Ok(settings) = Settings::from_startup(&message) {
        assert_eq!(settings.difference(&settings), "", "settings differ from themselves");
        let _sql = Settings::default().difference(&settings);
    }
}

fn messages(data: &[u8]) {
    let mut at = 0;
    while let Ok(Some(found)) = frame::first(&data[at..], Sender::Client) {
        assert!(found.raw.len() >= frame::HEADER_LEN && found.raw.len() <= data.len() - at);
        assert_eq!(found.body.len() + frame::HEADER_LEN, found.raw.len());
        bodies(found.body);
        at += found.raw.len();
    }
}

/// Every reader must cope with every body: a peer may send any type with any content.
fn bodies(body: &[u8]) {
    if let Ok(text) = frontend::query_text(body) {
        assert!(text.len() < body.len());
    }
    let _target = Target::read(body);
    if let Ok(parse) = Parse::read(body) {
        let _types = parse.parameter_types();
        let mut again = BytesMut::new();
        frontend::parse(&mut again, parse.name, parse.definition);
        assert_eq!(&again[frame::HEADER_LEN..], body, "a Parse reads as it was written");
    }
    if let Ok((portal, statement, arguments)) = Bind::names(body) {
        let mut again = BytesMut::new();
        frontend::bind(&mut again, portal, statement, arguments);
        assert_eq!(&again[frame::HEADER_LEN..], body, "the names of a Bind read as they were written");
    }
    if let Ok(bind) = Bind::read(body) {
        let _values = bind.values();
        let _arguments = bind.with_more_columns(bind.arguments.to_vec(), 3);
    }
}
