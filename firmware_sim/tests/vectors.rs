//! The frames of `tests/vectors/clp1_*.json` that both ends of the line must produce and reject alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use igrt_firmware::wire::frame::{self, Direction, Drop, Header, Piece, Splitter};
use igrt_firmware::wire::message;
use serde_json::Value;

const FRAMES: &str = include_str!("../../tests/vectors/clp1_frames.json");
const BAD_FRAMES: &str = include_str!("../../tests/vectors/clp1_bad_frames.json");

fn octets(hex: &Value) -> Vec<u8> {
    let text = hex.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|k| u8::from_str_radix(&text[k..k + 2], 16).unwrap())
        .collect()
}

fn direction(vector: &Value) -> Direction {
    if vector["direction"] == "H" {
        Direction::ToDevice
    } else {
        Direction::ToHost
    }
}

fn header(vector: &Value) -> Header {
    let field = |name: &str| {
        vector["header"]
            .get(name)
            .map_or(0, |value| value.as_u64().unwrap())
    };
    Header {
        kind: field("type") as u8,
        session: field("session") as u32,
        seq: field("seq") as u16,
        ack: field("ack") as u16,
        epoch: field("epoch") as u16,
        flags: field("flags") as u8,
        device: field("device") as u8,
        t_us: field("t_us") as u32,
        deadline_us: field("deadline_us") as u32,
    }
}

/// What the receiver makes of a wire: the first frame that passes, or why the first one that fails does.
fn received(direction: Direction, wire: &[u8]) -> Result<(Header, Vec<u8>), Option<Drop>> {
    let mut splitter = Box::new(Splitter::default());
    let mut raw = [0; frame::ENCODED_MAX];
    let mut first = Err(None);
    for octet in wire {
        match splitter.push(*octet) {
            None => continue,
            Some(Piece::TooLong) => first = Err(Some(Drop::Length)),
            Some(Piece::Run(run)) => match frame::decode(direction, run, &mut raw) {
                Ok((header, body)) => return Ok((header, body.to_vec())),
                Err(why) => first = Err(Some(why)),
            },
        }
        splitter.clear();
    }
    first
}

#[test]
fn every_shared_frame_decodes_and_is_produced_octet_for_octet() {
    let vectors: Value = serde_json::from_str(FRAMES).unwrap();
    let frames = vectors["frames"].as_array().unwrap();
    assert!(
        frames.len() >= 28,
        "the shared vectors have shrunk to {}",
        frames.len()
    );
    for vector in frames {
        let (wire, body, why) = (
            octets(&vector["frame"]),
            octets(&vector["body"]),
            &vector["why"],
        );
        let (got, got_body) = received(direction(vector), &wire)
            .unwrap_or_else(|drop| panic!("{why}: dropped as {drop:?}"));
        assert_eq!((got, &got_body), (header(vector), &body), "{why}");
        if direction(vector) == Direction::ToDevice {
            assert!(
                message::decode(got.kind, &body).is_some(),
                "{why}: the body does not fit"
            );
        }
        let (mut raw, mut encoded) = ([0; frame::RAW_MAX], [0; frame::ENCODED_MAX + 2]);
        let len = frame::encode(direction(vector), &got, &body, &mut raw, &mut encoded).unwrap();
        assert_eq!(
            received(direction(vector), &encoded[..len]),
            Ok((got, body.clone())),
            "{why}"
        );
        // The empty last block of COBS is free (protocol.md section 1); all else is one octet string.
        if !wire.ends_with(&[1, 0]) {
            assert_eq!(&encoded[..len], &wire[..], "{why}");
        }
    }
}

#[test]
fn every_bad_frame_is_dropped_for_its_written_reason() {
    let vectors: Value = serde_json::from_str(BAD_FRAMES).unwrap();
    let frames = vectors["frames"].as_array().unwrap();
    assert!(
        frames.len() >= 42,
        "the negative corpus has shrunk to {}",
        frames.len()
    );
    for vector in frames {
        let (wire, why, reason) = (
            octets(&vector["frame"]),
            &vector["why"],
            vector["reason"].as_str().unwrap(),
        );
        let result = received(direction(vector), &wire);
        let (drop, to_device) = (
            result.as_ref().err().copied().flatten(),
            direction(vector) == Direction::ToDevice,
        );
        match reason {
            "any" => assert!(result.is_err(), "{why}"),
            "cobs" => assert_eq!(drop, Some(Drop::Cobs), "{why}"),
            "short" | "overlong" => assert!(
                matches!(drop, Some(Drop::Length | Drop::Cobs)),
                "{why}: {drop:?}"
            ),
            "crc" => assert_eq!(drop, Some(Drop::Checksum), "{why}"),
            "length" => assert_eq!(drop, Some(Drop::BodyLength), "{why}"),
            "version" => assert_eq!(drop, Some(Drop::Version), "{why}"),
            "flags" => assert_eq!(drop, Some(Drop::Flags), "{why}"),
            "type" if to_device => {
                let (header, _) = result.unwrap();
                assert!(!message::is_known(header.kind), "{why}");
            }
            "body" if to_device => {
                let (header, body) = result.unwrap();
                assert!(
                    message::is_known(header.kind) && message::decode(header.kind, &body).is_none(),
                    "{why}"
                );
            }
            // A device never receives these; the host's end judges them.
            "type" | "body" => {}
            other => panic!("{why}: a reason {other:?} that this test does not know"),
        }
    }
}
