//! Arbitrary bytes in arbitrary pieces: the first byte of the input is the size of a piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirai_wire::{FrameBuffer, FromDaemon, FrameLimits, Want};

fuzz_target!(|input: &[u8]| {
    let Some((size, mut bytes)) = input.split_first() else { return };
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    loop {
        loop {
            match buffer.next_frame::<FromDaemon>() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if bytes.is_empty() {
            return;
        }
        let piece = &bytes[..bytes.len().min(usize::from(*size) + 1)];
        let taken = match buffer.want() {
            Want::Window(window) => {
                let taken = piece.len().min(window.len());
                window[..taken].copy_from_slice(&piece[..taken]);
                buffer.filled(taken);
                taken
            }
            Want::Payload { into, missing } => {
                let taken = piece.len().min(missing);
                into.extend_from_slice(&piece[..taken]);
                taken
            }
        };
        bytes = &bytes[taken..];
    }
});
