//! From octets to commands: lines of words, and single octets that are commands by themselves.
//!
//! A line ends with LF; CR is not needed and not minded. Octets #5, #7 and #24 are obeyed at once, wherever they stand, even in
//! the middle of a line: this is what makes #24 the stop of this dialect. #24 also drops the line that was begun.

use super::error::Error;

/// Longest line, without its LF.
pub const LINE_MAX: usize = 400;

/// `#5`: which axes move.
pub const MOTION: u8 = 5;
/// `#7`: whether the controller is ready.
pub const READY: u8 = 7;
/// `#24`: stop.
pub const STOP: u8 = 24;

/// What an octet completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Nothing yet.
    Nothing,
    /// A command of one octet.
    Single(u8),
    /// A whole line is there: [`Assembler::line`].
    Line,
    /// A line was too long and is dropped.
    TooLong,
}

/// Collects octets to lines.
#[derive(Debug, Default)]
pub struct Assembler {
    line: heapless::Vec<u8, LINE_MAX>,
    overrun: bool,
}

impl Assembler {
    /// Takes one octet.
    pub fn push(&mut self, octet: u8) -> Piece {
        match octet {
            MOTION | READY => Piece::Single(octet),
            STOP => {
                // What was begun before a stop must not be completed after it.
                self.line.clear();
                self.overrun = false;
                Piece::Single(octet)
            }
            b'\n' => {
                if core::mem::take(&mut self.overrun) {
                    self.line.clear();
                    Piece::TooLong
                } else {
                    Piece::Line
                }
            }
            _ => {
                if self.line.push(octet).is_err() {
                    self.overrun = true;
                }
                Piece::Nothing
            }
        }
    }

    /// Takes the line out; octets that are no text make it a line that no command matches.
    pub fn line(&mut self) -> heapless::String<LINE_MAX> {
        let octets = core::mem::take(&mut self.line);
        let mut text = heapless::String::new();
        if octets
            .iter()
            .all(|octet| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\t' | b'\r'))
        {
            for octet in &octets {
                let _ = text.push(char::from(*octet));
            }
        } else {
            let _ = text.push('?');
        }
        text
    }
}

/// A decimal number. Not-a-number and infinity are words, not numbers.
pub fn number(word: &str) -> Result<f64, Error> {
    let plain = word
        .bytes()
        .all(|octet| octet.is_ascii_digit() || matches!(octet, b'+' | b'-' | b'.' | b'e' | b'E'));
    word.parse::<f64>()
        .ok()
        .filter(|value| plain && value.is_finite())
        .ok_or(Error::ParameterSyntax)
}

/// `0` or `1`.
pub fn switch(word: &str) -> Result<bool, Error> {
    match word {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Error::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_in_the_middle_of_a_line_is_seen_at_once_and_the_line_is_forgotten() {
        let mut assembler = Assembler::default();
        let mut seen = heapless::Vec::<Piece, 32>::new();
        for octet in b"MOV\x18 X 1\n" {
            let piece = assembler.push(*octet);
            if piece != Piece::Nothing {
                seen.push(piece).unwrap();
            }
        }
        assert_eq!(seen.as_slice(), [Piece::Single(STOP), Piece::Line]);
        assert_eq!(assembler.line(), " X 1");
    }

    #[test]
    fn line_too_long_is_dropped_whole_and_the_next_is_heard() {
        let mut assembler = Assembler::default();
        for _ in 0..LINE_MAX + 50 {
            assert_eq!(assembler.push(b'A'), Piece::Nothing);
        }
        assert_eq!(assembler.push(b'\n'), Piece::TooLong);
        for octet in b"POS?" {
            assembler.push(*octet);
        }
        assert_eq!(assembler.push(b'\n'), Piece::Line);
        assert_eq!(assembler.line(), "POS?");
    }

    #[test]
    fn numbers_are_decimal_and_finite() {
        assert_eq!(number("-1.5e-3"), Ok(-0.0015));
        for word in ["nan", "inf", "1e400", "0x10", "1,5", "", "--1"] {
            assert_eq!(number(word), Err(Error::ParameterSyntax), "{word}");
        }
    }
}
