//! How the flat panel fails: what it reports, when a frame comes, what becomes of its pixels.

use crate::contact::first_half;
use crate::random::Stream;

/// How the panel fails.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum PanelFault {
    /// Works.
    #[default]
    None,
    /// Reports that it does not work.
    Off,
    /// Delivers the frame before once more.
    Stuck,
    /// Noise on every pixel, counts (one sigma).
    Garbage(f64),
    /// An offset on every pixel, counts.
    Wrong(f64),
    /// A read-out lasts so many times as long.
    Slow(f64),
    /// A frame comes so many microseconds late.
    Delayed(u64),
    /// Reports that it does not work in every other half period of so many microseconds.
    Intermittent(u64),
}

impl PanelFault {
    /// What the panel reports of itself.
    #[inline]
    pub fn reported(self, now_us: u64) -> bool {
        match self {
            Self::Off => true,
            Self::Intermittent(half_us) => !first_half(now_us, half_us),
            _ => false,
        }
    }

    /// How much later than usual a frame comes.
    pub fn late_us(self, read_out_us: u64) -> u64 {
        match self {
            Self::Slow(times) => (read_out_us as f64 * (times - 1.0)) as u64,
            Self::Delayed(late_us) => read_out_us + late_us,
            _ => 0,
        }
    }

    /// What becomes of a frame's 16-bit pixels.
    pub fn distort(self, octets: &mut [u8], noise: &mut Stream) {
        let mut change: Box<dyn FnMut() -> f64> = match self {
            Self::Garbage(sigma) => Box::new(move || sigma * noise.noise()),
            Self::Wrong(offset) => Box::new(move || offset),
            _ => return,
        };
        for pixel in octets.as_chunks_mut::<2>().0 {
            let counts = f64::from(u16::from_le_bytes(*pixel)) + change();
            *pixel = (counts.clamp(0.0, 65_535.0) as u16).to_le_bytes();
        }
    }
}
