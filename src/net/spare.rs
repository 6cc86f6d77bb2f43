//! Empty buffers that one thread's connections lend each other: a client that waits for long holds none, and its next
//! message needs no allocator.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use bytes::BytesMut;

/// Buffers kept for a thread.
const SPARE_MAX: usize = 64;

/// Bytes of the buffers that are kept: smaller ones would have to grow at once, larger ones are rare.
const SPARE_BYTES: RangeInclusive<usize> = 4 * 1024..=16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer; with room, if one was given.
pub fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes a buffer that nobody needs now.
pub fn give(mut buffer: BytesMut) {
    if !SPARE_BYTES.contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    });
}
