//! Little-endian integers in and out of fixed buffers. Neither side can run past its buffer.

/// Reads integers from the front of a body; `None` when the body is too short.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over the whole of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The next `N` octets.
    pub fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// The next octet.
    pub fn u8(&mut self) -> Option<u8> {
        self.octets::<1>().map(|[octet]| octet)
    }

    /// The next 16-bit unsigned integer.
    pub fn u16(&mut self) -> Option<u16> {
        self.octets().map(u16::from_le_bytes)
    }

    /// The next 32-bit unsigned integer.
    pub fn u32(&mut self) -> Option<u32> {
        self.octets().map(u32::from_le_bytes)
    }

    /// The next 64-bit unsigned integer.
    pub fn u64(&mut self) -> Option<u64> {
        self.octets().map(u64::from_le_bytes)
    }

    /// The next 32-bit signed integer.
    pub fn i32(&mut self) -> Option<i32> {
        self.octets().map(i32::from_le_bytes)
    }

    /// The next six 32-bit signed integers: one position of the axes.
    pub fn axes(&mut self) -> Option<[i32; 6]> {
        let mut axes = [0; 6];
        for axis in &mut axes {
            *axis = self.i32()?;
        }
        Some(axes)
    }

    /// All that is left.
    pub fn tail(self) -> &'a [u8] {
        self.rest
    }

    /// `value` if nothing is left, else `None`: a body that is longer than its message does not fit.
    pub fn end<T>(self, value: T) -> Option<T> {
        self.rest.is_empty().then_some(value)
    }
}

/// Writes integers into a fixed buffer. What does not fit is remembered as an overflow, and [`Writer::filled`] is then empty.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    used: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            used: 0,
            overflow: false,
        }
    }

    /// Appends raw octets.
    pub fn octets(&mut self, octets: &[u8]) -> &mut Self {
        match self.buffer.get_mut(self.used..self.used + octets.len()) {
            Some(place) => {
                place.copy_from_slice(octets);
                self.used += octets.len();
            }
            None => self.overflow = true,
        }
        self
    }

    /// Appends an octet.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.octets(&[value])
    }

    /// Appends a 16-bit unsigned integer.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_le_bytes())
    }

    /// Appends a 32-bit unsigned integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.octets(&value.to_le_bytes())
    }

    /// Appends a 64-bit unsigned integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.octets(&value.to_le_bytes())
    }

    /// Appends a 32-bit signed integer.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.octets(&value.to_le_bytes())
    }

    /// Appends six 32-bit signed integers.
    pub fn axes(&mut self, axes: &[i32; 6]) -> &mut Self {
        for axis in axes {
            self.i32(*axis);
        }
        self
    }

    /// Appends `count` octets that `fill` writes in place, and says how many it wrote.
    pub fn fill(&mut self, count: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let end = self.used + count;
        match self.buffer.get_mut(self.used..end) {
            Some(place) => {
                let written = fill(place).min(count);
                self.used += written;
                written
            }
            None => {
                self.overflow = true;
                0
            }
        }
    }

    /// How many octets were written.
    pub fn len(&self) -> usize {
        if self.overflow { 0 } else { self.used }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything written so far.
    pub fn clear(&mut self) {
        self.used = 0;
        self.overflow = false;
    }

    /// What was written; empty after an overflow.
    pub fn filled(&self) -> &[u8] {
        self.buffer.get(..self.len()).unwrap_or(&[])
    }
}
