//! Every 1-, 2- and 3-bit error on the wire of a short frame, delimiters and COBS code octets among the bits: whatever the receiver
//! takes from the damaged wire is the message that was sent, or nothing.
//!
//! Each frame has its own delimiters on both sides, so that damage to one cannot reach its neighbours on the line. Without
//! optimisation the third bit goes in strides; `cargo test --release --test corruption` is exhaustive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use igrt_firmware::wire::frame::{self, Direction, Piece, Splitter};
use igrt_firmware::wire::message;
use serde_json::Value;

const FRAMES: &str = include_str!("../../tests/vectors/clp1_frames.json");
const WIRE_LEN_MAX: usize = 40;
const THIRD_BIT_STRIDE: usize = if cfg!(debug_assertions) { 131 } else { 1 };

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|k| u8::from_str_radix(&hex[k..k + 2], 16).unwrap())
        .collect()
}

/// A receiver with its buffers, and what it must make of the honest wire.
struct Receiver {
    direction: Direction,
    splitter: Box<Splitter>,
    raw: Vec<u8>,
    honest: Vec<u8>,
    tried: u64,
    survived: u64,
}

impl Receiver {
    fn new(direction: Direction, wire: &[u8]) -> Self {
        let mut raw = vec![0; frame::ENCODED_MAX];
        let (_, body) = frame::decode(direction, &wire[1..wire.len() - 1], &mut raw).unwrap();
        let honest_len = frame::HEADER_LEN + body.len() + frame::CRC_LEN;
        let honest = raw[..honest_len].to_vec();
        Self {
            direction,
            splitter: Box::new(Splitter::default()),
            raw,
            honest,
            tried: 0,
            survived: 0,
        }
    }

    /// Feeds the wire and the delimiter of the next frame; another message than the honest one is a failure.
    fn hears(&mut self, wire: &[u8]) {
        self.tried += 1;
        for octet in wire.iter().chain(&[0]) {
            match self.splitter.push(*octet) {
                None => continue,
                Some(Piece::TooLong) => {}
                Some(Piece::Run(run)) => {
                    if let Ok((header, body)) = frame::decode(self.direction, run, &mut self.raw)
                        && (self.direction == Direction::ToHost
                            || message::decode(header.kind, body).is_some())
                    {
                        let len = frame::HEADER_LEN + body.len() + frame::CRC_LEN;
                        assert_eq!(self.raw[..len], self.honest, "{wire:02x?}");
                        self.survived += 1;
                    }
                }
            }
            self.splitter.clear();
        }
    }
}

fn flip(wire: &mut [u8], bit: usize) {
    wire[bit / 8] ^= 1 << (bit % 8);
}

fn try_all(receiver: &mut Receiver, wire: &mut [u8]) {
    let bits = wire.len() * 8;
    for first in 0..bits {
        flip(wire, first);
        receiver.hears(wire);
        for second in first + 1..bits {
            flip(wire, second);
            receiver.hears(wire);
            for third in (second + 1..bits).step_by(THIRD_BIT_STRIDE) {
                flip(wire, third);
                receiver.hears(wire);
                flip(wire, third);
            }
            flip(wire, second);
        }
        flip(wire, first);
    }
}

#[test]
fn no_1_2_or_3_bit_error_makes_another_message() {
    let vectors: Value = serde_json::from_str(FRAMES).unwrap();
    let mut frames = 0;
    for vector in vectors["frames"].as_array().unwrap() {
        let mut wire = octets(vector["frame"].as_str().unwrap());
        if wire.len() > WIRE_LEN_MAX {
            continue;
        }
        let direction = if vector["direction"] == "H" {
            Direction::ToDevice
        } else {
            Direction::ToHost
        };
        let mut receiver = Receiver::new(direction, &wire);
        receiver.hears(&wire);
        assert_eq!(receiver.survived, 1, "the honest wire is heard");
        try_all(&mut receiver, &mut wire);
        frames += 1;
        println!(
            "{}: {} octets, {} damaged wires, {} of them heard as sent",
            vector["why"],
            wire.len(),
            receiver.tried - 1,
            receiver.survived - 1
        );
    }
    assert!(frames >= 8, "{frames} short frames among the vectors");
}
