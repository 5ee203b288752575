//! One direction of one line, and how it spoils what passes.

use super::{LINE_KINDS, demanded};
use crate::random::Stream;
use std::collections::VecDeque;

/// Octets that wait on a stalled line at most; older ones are lost, as in a full UART buffer.
const QUEUE_MAX: usize = 65_536;

/// Faults of one direction of one line.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) stream: [Stream; 6],
    pub(super) flip: f64,
    pub(super) drop: f64,
    pub(super) garbage: f64,
    pub(super) duplicate: f64,
    pub(super) reorder: f64,
    pub(super) delay_us: u64,
    pub(super) jitter_us: u64,
    pub(super) split: usize,
    pub(super) merge_us: u64,
    pub(super) stall: bool,
    pub(super) off: bool,
    pub(super) baud: bool,
    /// The two ends run at different rates: no fault to be cleared, but how the port is set.
    pub(super) rates_differ: bool,
    pub(super) held: Vec<u8>,
    pub(super) queue: VecDeque<(u64, Vec<u8>)>,
    pub(super) queued: usize,
    pub(super) touched: u64,
}

impl Pipe {
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let stream = ["flip", "drop", "garbage", "duplicate", "reorder", "jitter"]
            .map(|kind| Stream::new(seed, &format!("line.{name}.{kind}")));
        Self {
            stream,
            flip: 0.0,
            drop: 0.0,
            garbage: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            delay_us: 0,
            jitter_us: 0,
            split: 0,
            merge_us: 0,
            stall: false,
            off: false,
            baud: false,
            rates_differ: false,
            held: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            touched: 0,
        }
    }

    pub(super) fn set(&mut self, kind: &str, value: Option<f64>) -> Result<(), String> {
        let meaning = LINE_KINDS
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| {
                let known: Vec<&str> = LINE_KINDS.iter().map(|(name, _)| *name).collect();
                format!("a line has no fault {kind:?}; it has {}", known.join(", "))
            })?;
        let number = demanded("line", kind, meaning, value)?;
        if meaning.starts_with("probability") && !(0.0..=1.0).contains(&number) {
            return Err(format!(
                "line {kind}: {number} is not a probability within 0 to 1"
            ));
        }
        if number < 0.0 {
            return Err(format!("line {kind}: {number} must not be negative"));
        }
        let micros = (number * 1e3) as u64;
        match kind {
            "flip" => self.flip = number,
            "drop" => self.drop = number,
            "garbage" => self.garbage = number,
            "duplicate" => self.duplicate = number,
            "reorder" => self.reorder = number,
            "delayed" => self.delay_us = micros,
            "jitter" => self.jitter_us = micros,
            "split" => self.split = (number as usize).max(1),
            "merge" => self.merge_us = micros,
            "stall" => self.stall = true,
            "off" => self.off = true,
            "baud" => self.baud = true,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn idle(&self) -> bool {
        let random = self.flip + self.drop + self.garbage + self.duplicate + self.reorder;
        random == 0.0
            && !self.queues()
            && !self.off
            && !self.baud
            && !self.rates_differ
            && self.queue.is_empty()
            && self.held.is_empty()
    }

    pub(super) fn queues(&self) -> bool {
        self.stall || self.delay_us + self.jitter_us + self.merge_us > 0 || self.split > 0
    }

    /// Takes a chunk; `None` if it passes untouched, else what passes now.
    pub(super) fn pass(&mut self, now_us: u64, chunk: &[u8]) -> Option<Vec<u8>> {
        if self.idle() {
            return None;
        }
        self.touched += chunk.len() as u64;
        if self.off {
            return Some(Vec::new());
        }
        let damaged = self.damage(chunk);
        if !self.queues() && self.queue.is_empty() {
            return Some(damaged);
        }
        let [.., jitter] = &mut self.stream;
        let late =
            self.delay_us + (self.jitter_us as f64 * jitter.uniform()) as u64 + self.merge_us;
        let mut due = now_us + late;
        if let Some((last, waiting)) = self.queue.back_mut() {
            // A serial line keeps its order; a chunk within the merging time joins the one that waits.
            if self.merge_us > 0 && *last > now_us {
                waiting.extend_from_slice(&damaged);
                self.queued += damaged.len();
                return Some(Vec::new());
            }
            due = due.max(*last);
        }
        self.queued += damaged.len();
        self.queue.push_back((due, damaged));
        while self.queued > QUEUE_MAX {
            if let Some((_, lost)) = self.queue.pop_front() {
                self.queued -= lost.len();
            }
        }
        Some(Vec::new())
    }

    pub(super) fn damage(&mut self, chunk: &[u8]) -> Vec<u8> {
        let [flips, drops, noise, twice, order, _] = &mut self.stream;
        let mut out = Vec::with_capacity(chunk.len() + 8);
        if self.garbage > 0.0 && noise.uniform() < self.garbage {
            let count = 1 + noise.bits() % 16;
            out.extend((0..count).map(|_| noise.bits() as u8));
        }
        for octet in chunk {
            if self.baud || self.rates_differ {
                // At a wrong rate the receiver samples other bits, and sees about twice or half as many octets.
                let bits = flips.bits();
                out.extend(
                    [bits as u8, (bits >> 8) as u8]
                        .iter()
                        .take((bits >> 16) as usize % 3),
                );
                continue;
            }
            if self.drop > 0.0 && drops.uniform() < self.drop {
                continue;
            }
            let flipped = self.flip > 0.0 && flips.uniform() < self.flip;
            out.push(if flipped {
                octet ^ (1 << (flips.bits() % 8))
            } else {
                *octet
            });
        }
        if self.duplicate > 0.0 && twice.uniform() < self.duplicate {
            out.extend_from_within(..);
        }
        if self.reorder > 0.0 && self.held.is_empty() && order.uniform() < self.reorder {
            self.held = out;
            return Vec::new();
        }
        out.append(&mut self.held);
        out
    }

    /// What has waited long enough.
    pub(super) fn due(&mut self, now_us: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if self.stall {
            return out;
        }
        let mut room = if self.split > 0 {
            self.split
        } else {
            usize::MAX
        };
        while let Some((due, chunk)) = self.queue.front_mut() {
            if *due > now_us || room == 0 {
                break;
            }
            let count = chunk.len().min(room);
            out.extend(chunk.drain(..count));
            room -= count;
            if chunk.is_empty() {
                self.queue.pop_front();
            }
        }
        self.queued -= out.len().min(self.queued);
        out
    }

    /// Ends all faults; what waited arrives, what was held back is lost.
    pub(super) fn clear(&mut self) {
        self.flip = 0.0;
        self.drop = 0.0;
        self.garbage = 0.0;
        self.duplicate = 0.0;
        self.reorder = 0.0;
        self.delay_us = 0;
        self.jitter_us = 0;
        self.split = 0;
        self.merge_us = 0;
        self.stall = false;
        self.off = false;
        self.baud = false;
    }
}
