//! The frame of docs/protocol.md section 1: `00 COBS(header 24 | body | crc 4) 00`.

use crate::wire::octets::{Reader, Writer};
use crc::{CRC_32_ISCSI, Crc, Table};

/// First 8 octets of SHA-256 over `docs/clp1.dictionary` without its comments; a test recomputes it from the file.
pub const DICTIONARY: [u8; 8] = [0x0d, 0xd6, 0xb6, 0xff, 0x96, 0x48, 0x60, 0x3b];
/// The only protocol version of this firmware.
pub const VERSION: u8 = 1;
/// Octets of a header.
pub const HEADER_LEN: usize = 24;
/// Octets of a checksum.
pub const CRC_LEN: usize = 4;
/// Largest body.
pub const BODY_MAX: usize = 4124;
/// Largest decoded frame.
pub const RAW_MAX: usize = HEADER_LEN + BODY_MAX + CRC_LEN;
/// Largest encoded frame without its delimiters: COBS adds one octet in 254, and one.
pub const ENCODED_MAX: usize = RAW_MAX + RAW_MAX / 254 + 1;
/// Flag bit 0 of a header: this is a retransmission.
pub const FLAG_RETRANSMISSION: u8 = 1;
/// Flag bit 1 of a header: `deadline_us` counts.
pub const FLAG_DEADLINE: u8 = 2;

// CRC-32/ISCSI is the catalogue's name of CRC-32C (Castagnoli).
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Which way a frame travels; part of the implicit prefix of the checksum, so that an echo never validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Host to device, 'H'.
    ToDevice,
    /// Device to host, 'D'.
    ToHost,
}

/// The 24 octets before the body, without version and length, which the codec owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Message type of the dictionary.
    pub kind: u8,
    /// Session, 0 where there is none.
    pub session: u32,
    /// Sequence number.
    pub seq: u16,
    /// Device: the next sequence number it expects.
    pub ack: u16,
    /// STOP epoch that the sender knows.
    pub epoch: u16,
    /// Bit 0 retransmission, bit 1 deadline present.
    pub flags: u8,
    /// 1 couch, 2 imager, 3 pendant.
    pub device: u8,
    /// Low 32 bits of the sender's clock.
    pub t_us: u32,
    /// Low 32 bits of the device's clock after which the command must not begin.
    pub deadline_us: u32,
}

/// Why a frame was dropped. A dropped frame is counted and never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// Not a COBS encoding.
    Cobs,
    /// Shorter than header and checksum, or longer than the largest frame.
    Length,
    /// The checksum over prefix, header and body differs.
    Checksum,
    /// `body_len` is not what is there.
    BodyLength,
    /// Not version 1.
    Version,
    /// A reserved flag bit is set.
    Flags,
    /// A frame for another kind of device.
    Device,
    /// No message of this direction has this type.
    Kind,
    /// The body does not fit its message.
    Body,
}

/// Whether a type is a base message, whose checksum prefix has an all-zero dictionary hash.
pub fn is_base(kind: u8) -> bool {
    kind < 0x20 || kind == 0x81 || kind == 0x82
}

fn checksum(direction: Direction, kind: u8, raw: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(match direction {
        Direction::ToDevice => b"H",
        Direction::ToHost => b"D",
    });
    digest.update(if is_base(kind) { &[0; 8] } else { &DICTIONARY });
    digest.update(raw);
    digest.finalize()
}

/// Writes `00 COBS(header | body | crc) 00` into `encoded` and gives its length; `None` if body or buffer is out of bounds.
pub fn encode(
    direction: Direction,
    header: &Header,
    body: &[u8],
    raw: &mut [u8],
    encoded: &mut [u8],
) -> Option<usize> {
    let body_len = u16::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= BODY_MAX)?;
    let mut writer = Writer::new(raw);
    writer
        .u8(VERSION)
        .u8(header.kind)
        .u16(body_len)
        .u32(header.session)
        .u16(header.seq)
        .u16(header.ack);
    writer
        .u16(header.epoch)
        .u8(header.flags)
        .u8(header.device)
        .u32(header.t_us)
        .u32(header.deadline_us);
    writer.octets(body);
    let crc = checksum(direction, header.kind, writer.filled());
    writer.u32(crc);
    let (first, rest) = encoded.split_first_mut()?;
    *first = 0;
    let stuffed = cobs::try_encode(writer.filled(), rest).ok()?;
    *rest.get_mut(stuffed)? = 0;
    Some(stuffed + 2)
}

/// Decodes one run of octets between two delimiters into `raw`; the body is a slice of it.
pub fn decode<'a>(
    direction: Direction,
    run: &[u8],
    raw: &'a mut [u8],
) -> Result<(Header, &'a [u8]), Drop> {
    let size = cobs::decode(run, raw).map_err(|_| Drop::Cobs)?.frame_size();
    let raw: &'a [u8] = raw;
    let decoded = raw.get(..size).ok_or(Drop::Cobs)?;
    if !(HEADER_LEN + CRC_LEN..=RAW_MAX).contains(&decoded.len()) {
        return Err(Drop::Length);
    }
    let (covered, crc) = decoded.split_last_chunk::<CRC_LEN>().ok_or(Drop::Length)?;
    let (front, body) = covered.split_at_checked(HEADER_LEN).ok_or(Drop::Length)?;
    let (version, body_len, header) = header_of(front).ok_or(Drop::Length)?;
    if checksum(direction, header.kind, covered) != u32::from_le_bytes(*crc) {
        return Err(Drop::Checksum);
    }
    if usize::from(body_len) != body.len() {
        return Err(Drop::BodyLength);
    }
    if version != VERSION {
        return Err(Drop::Version);
    }
    if header.flags & !(FLAG_RETRANSMISSION | FLAG_DEADLINE) != 0 {
        return Err(Drop::Flags);
    }
    Ok((header, body))
}

fn header_of(front: &[u8]) -> Option<(u8, u16, Header)> {
    let mut reader = Reader::new(front);
    let version = reader.u8()?;
    let kind = reader.u8()?;
    let body_len = reader.u16()?;
    let header = Header {
        kind,
        session: reader.u32()?,
        seq: reader.u16()?,
        ack: reader.u16()?,
        epoch: reader.u16()?,
        flags: reader.u8()?,
        device: reader.u8()?,
        t_us: reader.u32()?,
        deadline_us: reader.u32()?,
    };
    Some((version, body_len, header))
}

/// Collects octets up to a delimiter; a run longer than the largest frame is discarded up to the next delimiter and counted.
#[derive(Debug)]
pub struct Splitter {
    run: heapless::Vec<u8, ENCODED_MAX>,
    discarding: bool,
}

/// What one octet completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A run of octets between two delimiters.
    Run(&'a [u8]),
    /// A delimiter ended a run that was too long.
    TooLong,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            run: heapless::Vec::new(),
            discarding: false,
        }
    }
}

impl Splitter {
    /// Takes one octet; empty runs are nothing. The run is to be [cleared](Splitter::clear) once it was read.
    pub fn push(&mut self, octet: u8) -> Option<Piece<'_>> {
        if octet != 0 {
            if self.discarding || self.run.push(octet).is_err() {
                self.discarding = true;
                self.run.clear();
            }
            return None;
        }
        if core::mem::take(&mut self.discarding) {
            return Some(Piece::TooLong);
        }
        if self.run.is_empty() {
            None
        } else {
            Some(Piece::Run(&self.run))
        }
    }

    /// Forgets the run that was read.
    pub fn clear(&mut self) {
        self.run.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn dictionary_hash_is_that_of_the_published_file() {
        let text = include_str!("../../../docs/clp1.dictionary");
        let mut digest = Sha256::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            digest.update(line.as_bytes());
            digest.update(b"\n");
        }
        assert_eq!(digest.finalize()[..8], DICTIONARY);
    }

    #[test]
    fn checksum_is_castagnoli() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xE306_9283);
    }

    fn round_trip(body: &[u8]) {
        let header = Header {
            kind: 0x20,
            session: 7,
            seq: 3,
            device: 1,
            ..Header::default()
        };
        let (mut raw, mut wire, mut back) = ([0; RAW_MAX], [0; ENCODED_MAX + 2], [0; ENCODED_MAX]);
        let len = encode(Direction::ToDevice, &header, body, &mut raw, &mut wire).unwrap();
        assert_eq!(wire[0], 0);
        assert_eq!(wire[len - 1], 0);
        assert!(!wire[1..len - 1].contains(&0));
        let decoded = decode(Direction::ToDevice, &wire[1..len - 1], &mut back).unwrap();
        assert_eq!(decoded, (header, body));
        assert_eq!(
            decode(Direction::ToHost, &wire[1..len - 1], &mut back),
            Err(Drop::Checksum),
            "an echo must not validate"
        );
    }

    #[test]
    fn frames_of_every_size_round_trip_and_echoes_never_validate() {
        for len in [0, 1, 225, 226, 227, 480, BODY_MAX] {
            round_trip(&vec![0; len]);
            round_trip(&(0..len).map(|i| (i % 255 + 1) as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_1_2_or_3_bit_corruption_of_a_short_frame_is_accepted() {
        let header = Header {
            kind: 0x01,
            device: 1,
            ..Header::default()
        };
        let (mut raw, mut wire, mut back) = ([0; RAW_MAX], [0; 64], [0; 64]);
        let len = encode(
            Direction::ToDevice,
            &header,
            &[1, 2, 3, 4, 5],
            &mut raw,
            &mut wire,
        )
        .unwrap();
        let mut accepts = |frame: &[u8]| {
            frame.split(|octet| *octet == 0).any(|run| {
                decode(Direction::ToDevice, run, &mut back)
                    .is_ok_and(|(got, body)| got != header || body != [1, 2, 3, 4, 5])
            })
        };
        let bits = len * 8;
        let mut frame = wire[..len].to_vec();
        for first in 0..bits {
            frame[first / 8] ^= 1 << (first % 8);
            assert!(!accepts(&frame));
            for second in first + 1..bits {
                frame[second / 8] ^= 1 << (second % 8);
                assert!(!accepts(&frame));
                // Every third bit of the third position: the exhaustive run belongs to the campaign, not to every build.
                for third in (second + 1..bits).step_by(29) {
                    frame[third / 8] ^= 1 << (third % 8);
                    assert!(!accepts(&frame));
                    frame[third / 8] ^= 1 << (third % 8);
                }
                frame[second / 8] ^= 1 << (second % 8);
            }
            frame[first / 8] ^= 1 << (first % 8);
        }
    }
}
