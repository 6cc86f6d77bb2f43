//! Reads `[peers]`: the Weirs that clients reach by one address.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use toml::Spanned;
use toml::de::DeValue;

use super::NodeAddress;
use super::section::{Located, Section, Wrong, count};
use super::units::peer_address;
use crate::types::PeerId;

/// A number from 1 to 255.
pub(super) fn id(value: &DeValue<'_>) -> Result<PeerId, Wrong> {
    let number = count(value)?;
    u8::try_from(number).ok().and_then(NonZeroU8::new).map(PeerId).ok_or_else(out_of_range)
}

/// The peers by their ids. There are none unless `own` says which this Weir is.
pub(super) fn read(root: &mut Section<'_>, own: Option<PeerId>) -> BTreeMap<PeerId, NodeAddress> {
    if !root.has("peers") {
        return BTreeMap::new();
    }
    let section = root.take_section("peers", "[peers]");
    if own.is_none() {
        section.mistake("[peers] needs peer_id in [weir]: which of them this Weir is");
    }
    section.entries().filter_map(|(key, value)| peer(&section, &key, value)).collect()
}

/// One line of the table. What is wrong with it is recorded.
fn peer(section: &Section<'_>, key: &Located<&str>, value: &Spanned<DeValue<'_>>) -> Option<(PeerId, NodeAddress)> {
    let Located { value: name, offset } = *key;
    let wrong = |offset, wrong: Wrong| section.file.mistake(offset, format!("{name}: {}", wrong.message), wrong.hint);
    let id = name.parse().ok().and_then(NonZeroU8::new).map(PeerId).ok_or_else(out_of_range);
    let address = peer_address(value.get_ref());
    match (id, address) {
        (Ok(id), Ok(address)) => Some((id, address)),
        (Err(bad), _) => {
            wrong(offset, bad);
            None
        }
        (Ok(_), Err(bad)) => {
            wrong(value.span().start, bad);
            None
        }
    }
}

fn out_of_range() -> Wrong {
    Wrong::new("a peer's id is a number from 1 to 255")
}
