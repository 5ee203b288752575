//! The device end of a CLP/1 line: sessions, at-most-once execution, deadlines, the STOP epoch, the lease, telemetry.
//!
//! docs/protocol.md sections 2 to 5 and 9. The rules a command passes, in this order: it is a frame at all (else dropped and
//! counted); STOP and HELLO are obeyed; the session is the current one (2) and not telemetry only (3); its sequence number is the next
//! (else the stored answer or 4); its deadline has not passed (5); its epoch is current where that matters (6); the device agrees.

use crate::random::Stream;
use crate::refusal::{Code, Refusal};
use crate::refuse;
use crate::wire::frame::{self, Direction, Drop, Header, Piece, Splitter};
use crate::wire::message::{self, Command, Hello, reply};
use crate::wire::octets::Writer;

/// Commands that may be outstanding.
pub const WINDOW: u8 = 4;
/// Answers kept for retransmissions: twice the window, so that a late duplicate of the window before still finds its answer.
pub const CACHE_LEN: usize = 8;
/// Lease age up to which motion goes on.
pub const LEASE_FRESH_US: u64 = 150_000;
/// Lease age past which brakes engage and a fault latches.
pub const LEASE_LOST_US: u64 = 500_000;
/// Telemetry period before a host asks for another.
pub const TELEMETRY_PERIOD_MS: u16 = 50;
/// Telemetry periods that a host may ask for; the shortest fits 3 Mbaud.
pub const TELEMETRY_PERIODS_MS: core::ops::RangeInclusive<u16> = 2..=1000;

/// First octets of the digest of this firmware build: its name and version; a bench that records runs stores it.
const BUILD: &str = concat!("igrt-firmware ", env!("CARGO_PKG_VERSION"));

/// Where the device puts whole encoded frames.
pub trait Sink {
    /// Takes one encoded frame, delimiters included.
    fn put(&mut self, frame: &[u8]);
}

#[cfg(feature = "std")]
impl Sink for std::vec::Vec<u8> {
    fn put(&mut self, frame: &[u8]) {
        self.extend_from_slice(frame);
    }
}

/// What a HELLO_ACK says of a device beside its line.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// 1 couch, 2 imager, 3 pendant.
    pub device: u8,
    /// Couch family, 0 for others.
    pub family: u8,
    /// Axes, 0 for devices without.
    pub axis_count: u8,
    /// First 8 octets of the limits digest.
    pub limits: [u8; 8],
}

impl Identity {
    /// A device without axes.
    pub fn without_axes(device: u8) -> Self {
        Self {
            device,
            family: 0,
            axis_count: 0,
            limits: [0; 8],
        }
    }
}

/// What a command may know of its line.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The device's clock.
    pub now_us: u64,
    /// Time since the last accepted lease, `None` without one in this session.
    pub lease_age_us: Option<u64>,
    /// Time since the session began, or since power-up without one.
    pub session_age_us: u64,
    /// Whether the current session is telemetry only.
    pub telemetry_only: bool,
}

impl Context {
    /// Lease age up to 150 ms.
    pub fn lease_fresh(&self) -> bool {
        self.lease_age_us.is_some_and(|age| age <= LEASE_FRESH_US)
    }

    /// Lease age over 500 ms. Without a lease the age of the session counts: a HELLO in mid motion is to end in the controlled stop
    /// that it asks for, not in the brakes at once.
    pub fn lease_lost(&self) -> bool {
        self.lease_age_us.unwrap_or(self.session_age_us) > LEASE_LOST_US
    }

    /// Lease age for telemetry; saturates at 65535.
    pub fn lease_age_ms(&self) -> u16 {
        self.lease_age_us.map_or(u16::MAX, |age| {
            u16::try_from(age / 1000).unwrap_or(u16::MAX)
        })
    }
}

/// The hooks that a device supplies to its line.
pub trait Device {
    /// What HELLO_ACK and LIMITS_REPLY say.
    fn identity(&self) -> Identity;
    /// STOP: everything ends; gives the state afterwards.
    fn stop(&mut self, now_us: u64) -> u8;
    /// A HELLO ended the session that was there.
    fn session_ended(&mut self, now_us: u64);
    /// Writes the body of the status message and gives its type.
    fn status(&self, context: &Context, body: &mut Writer<'_>) -> u8;
    /// Latched faults.
    fn faults(&self) -> u32;
}

/// A device that obeys commands with `memory`: what it reads beside itself, as an imager its frames.
pub trait Obey<M>: Device {
    /// Obeys a command: writes the body of the answer and gives its type.
    fn obey(
        &mut self,
        context: &Context,
        command: &Command<'_>,
        memory: &M,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal>;
}

/// Counters of a line; the truth of a bench, not on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that passed the codec.
    pub accepted: u64,
    /// Frames dropped, by any reason.
    pub dropped: u64,
    /// Runs without a delimiter that were too long.
    pub too_long: u64,
    /// Answers sent again from the cache.
    pub replayed: u64,
    /// Commands refused.
    pub refused: u64,
    /// Commands executed, each at most once.
    pub executed: u64,
}

struct Answer {
    seq: u16,
    kind: u8,
    body: heapless::Vec<u8, { frame::BODY_MAX }>,
}

struct Lease {
    counter: u32,
    at_us: u64,
}

/// The state of one line, without its device.
pub struct Line {
    device: u8,
    boot_id: u32,
    entropy: Stream,
    splitter: Splitter,
    session: u32,
    /// Nonce of the HELLO that opened the session: the same frame come twice opens nothing.
    hello_nonce: Option<u32>,
    telemetry_only: bool,
    expected: u16,
    cache: heapless::Deque<Answer, CACHE_LEN>,
    epoch: u16,
    stop_nonce: Option<u32>,
    lease: Option<Lease>,
    session_since_us: u64,
    telemetry_period_us: u64,
    telemetry_due_us: u64,
    telemetry_seq: u16,
    counters: Counters,
    raw: [u8; frame::ENCODED_MAX],
    body: [u8; frame::BODY_MAX],
    encoded: [u8; frame::ENCODED_MAX + 2],
}

impl core::fmt::Debug for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Line")
            .field("device", &self.device)
            .field("session", &self.session)
            .field("expected", &self.expected)
            .field("epoch", &self.epoch)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn after(seq: u16) -> u16 {
    // 65535 is followed by 1: 0 marks unsequenced messages.
    seq.checked_add(1).unwrap_or(1)
}

impl Line {
    /// A line at power-up: no session, epoch 0, a random boot id.
    pub fn new(device: u8, mut entropy: Stream, now_us: u64) -> Self {
        Self {
            device,
            boot_id: entropy.nonzero_u32(),
            entropy,
            splitter: Splitter::default(),
            session: 0,
            hello_nonce: None,
            telemetry_only: false,
            expected: 1,
            cache: heapless::Deque::new(),
            epoch: 0,
            stop_nonce: None,
            lease: None,
            session_since_us: now_us,
            telemetry_period_us: u64::from(TELEMETRY_PERIOD_MS) * 1000,
            telemetry_due_us: now_us,
            telemetry_seq: 0,
            counters: Counters::default(),
            raw: [0; frame::ENCODED_MAX],
            body: [0; frame::BODY_MAX],
            encoded: [0; frame::ENCODED_MAX + 2],
        }
    }

    /// The STOP epoch.
    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    /// The counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What a device may know of its line at `now_us`.
    pub fn context(&self, now_us: u64) -> Context {
        Context {
            now_us,
            lease_age_us: self
                .lease
                .as_ref()
                .map(|lease| now_us.saturating_sub(lease.at_us)),
            session_age_us: now_us.saturating_sub(self.session_since_us),
            telemetry_only: self.telemetry_only,
        }
    }

    /// Takes octets from the host; answers go to `sink`.
    pub fn receive<M>(
        &mut self,
        now_us: u64,
        octets: &[u8],
        device: &mut impl Obey<M>,
        memory: &M,
        sink: &mut impl Sink,
    ) {
        for octet in octets {
            let decoded = match self.splitter.push(*octet) {
                None => continue,
                Some(Piece::TooLong) => {
                    self.counters.too_long += 1;
                    continue;
                }
                Some(Piece::Run(run)) => frame::decode(Direction::ToDevice, run, &mut self.raw)
                    .map(|(header, body)| (header, body.len())),
            };
            self.splitter.clear();
            if decoded
                .and_then(|(header, len)| self.accept(now_us, &header, len, device, memory, sink))
                .is_err()
            {
                self.counters.dropped += 1;
            }
        }
    }

    /// UART BREAK: the effect of a STOP with a new nonce, without an answer.
    pub fn line_break(&mut self, now_us: u64, device: &mut impl Device) {
        self.epoch = self.epoch.wrapping_add(1);
        device.stop(now_us);
    }

    /// Sends telemetry when it is due.
    pub fn tick(&mut self, now_us: u64, device: &impl Device, sink: &mut impl Sink) {
        if self.telemetry_period_us == 0 || now_us < self.telemetry_due_us {
            return;
        }
        self.tell(now_us, device, sink);
    }

    /// Sends a status now, and the next one a period later; nothing while the host polls.
    pub fn tell(&mut self, now_us: u64, device: &impl Device, sink: &mut impl Sink) {
        if self.telemetry_period_us == 0 {
            return;
        }
        self.telemetry_due_us = now_us + self.telemetry_period_us;
        self.send_status(now_us, device, sink);
    }

    /// When telemetry is due next.
    pub fn due_us(&self) -> u64 {
        if self.telemetry_period_us == 0 {
            u64::MAX
        } else {
            self.telemetry_due_us
        }
    }

    fn send_status(&mut self, now_us: u64, device: &impl Device, sink: &mut impl Sink) {
        self.telemetry_seq = self.telemetry_seq.wrapping_add(1);
        let context = self.context(now_us);
        let mut body = [0; 256];
        let mut writer = Writer::new(&mut body);
        let kind = device.status(&context, &mut writer);
        self.send(
            now_us,
            kind,
            self.session,
            self.telemetry_seq,
            writer.filled(),
            sink,
        );
    }

    fn send(
        &mut self,
        now_us: u64,
        kind: u8,
        session: u32,
        seq: u16,
        body: &[u8],
        sink: &mut impl Sink,
    ) {
        let header = Header {
            kind,
            session,
            seq,
            ack: self.expected,
            epoch: self.epoch,
            flags: 0,
            device: self.device,
            t_us: now_us as u32,
            deadline_us: 0,
        };
        if let Some(len) = frame::encode(
            Direction::ToHost,
            &header,
            body,
            &mut self.raw,
            &mut self.encoded,
        ) {
            sink.put(self.encoded.get(..len).unwrap_or(&[]));
        }
    }

    fn refuse(&mut self, now_us: u64, about: &Header, refusal: &Refusal, sink: &mut impl Sink) {
        self.counters.refused += 1;
        let mut body = [0; 256];
        let mut writer = Writer::new(&mut body);
        self.write_refusal(about, refusal, &mut writer);
        self.send(
            now_us,
            reply::REFUSED,
            about.session,
            about.seq,
            writer.filled(),
            sink,
        );
    }

    fn write_refusal(&self, about: &Header, refusal: &Refusal, writer: &mut Writer<'_>) {
        writer
            .u8(refusal.code as u8)
            .u8(about.kind)
            .u16(about.seq)
            .u16(self.expected);
        writer.octets(refusal.text.as_bytes());
    }

    /// A frame that passed the codec: either obeyed or refused. `Err` when it is none of this device's business.
    fn accept<M>(
        &mut self,
        now_us: u64,
        header: &Header,
        body_len: usize,
        device: &mut impl Obey<M>,
        memory: &M,
        sink: &mut impl Sink,
    ) -> Result<(), Drop> {
        if header.device != self.device {
            return Err(Drop::Device);
        }
        if !message::is_known(header.kind) {
            return Err(Drop::Kind);
        }
        // The command borrows the octets, and the answer is built in `raw`: the body moves to a copy on the stack first.
        let mut copy = [0; frame::BODY_MAX];
        let source = self
            .raw
            .get(frame::HEADER_LEN..frame::HEADER_LEN + body_len)
            .ok_or(Drop::BodyLength)?;
        let body = copy.get_mut(..body_len).ok_or(Drop::BodyLength)?;
        body.copy_from_slice(source);
        let command = message::decode(header.kind, body).ok_or(Drop::Body)?;
        self.counters.accepted += 1;
        match command {
            Command::Stop { nonce, .. } => self.obey_stop(now_us, header, nonce, device, sink),
            Command::Hello(hello) => self.obey_hello(now_us, header, &hello, device, sink),
            Command::Lease { counter, host_us } => {
                if let Err(refusal) = self.obey_lease(now_us, header, counter, host_us, sink) {
                    self.refuse(now_us, header, &refusal, sink);
                }
            }
            _ => self.obey_sequenced(now_us, header, &command, device, memory, sink),
        }
        Ok(())
    }

    fn obey_stop(
        &mut self,
        now_us: u64,
        header: &Header,
        nonce: u32,
        device: &mut impl Device,
        sink: &mut impl Sink,
    ) {
        if self.stop_nonce != Some(nonce) {
            self.stop_nonce = Some(nonce);
            self.epoch = self.epoch.wrapping_add(1);
        }
        let state = device.stop(now_us);
        let mut body = [0; 7];
        let mut writer = Writer::new(&mut body);
        writer.u32(nonce).u16(self.epoch).u8(state);
        self.send(
            now_us,
            reply::STOP_ACK,
            self.session,
            header.seq,
            writer.filled(),
            sink,
        );
    }

    fn obey_hello(
        &mut self,
        now_us: u64,
        header: &Header,
        hello: &Hello,
        device: &mut impl Device,
        sink: &mut impl Sink,
    ) {
        if header.session != 0 || header.seq != 0 {
            let refusal = Refusal::new(
                Code::Malformed,
                format_args!(
                    "HELLO has session {} and seq {}; both must be 0",
                    header.session, header.seq
                ),
            );
            self.refuse(now_us, header, &refusal, sink);
            return;
        }
        let status = if !(hello.version_min..=hello.version_max).contains(&frame::VERSION) {
            1
        } else if hello.dictionary != frame::DICTIONARY {
            2
        } else {
            0
        };
        // A host that wants a session says HELLO with a new nonce. The same nonce again is the same frame, doubled or late: it is answered
        // with the session that it opened, and nothing ends.
        let known = self.hello_nonce == Some(hello.host_nonce);
        if self.session == 0 || !known || self.telemetry_only != (status != 0) {
            device.session_ended(now_us);
            self.begin_session(now_us, hello.host_nonce, status != 0);
        }
        let identity = device.identity();
        let mut body = [0; 64];
        let mut writer = Writer::new(&mut body);
        writer
            .u8(status)
            .u8(frame::VERSION)
            .u8(identity.device)
            .u8(identity.family)
            .u32(hello.host_nonce);
        writer
            .u32(self.boot_id)
            .u32(self.session)
            .octets(&frame::DICTIONARY)
            .octets(&identity.limits);
        writer
            .octets(&build())
            .u16(frame::BODY_MAX as u16)
            .u8(WINDOW)
            .u8(identity.axis_count)
            .u64(now_us);
        self.send(
            now_us,
            reply::HELLO_ACK,
            self.session,
            header.seq,
            writer.filled(),
            sink,
        );
    }

    fn begin_session(&mut self, now_us: u64, nonce: u32, telemetry_only: bool) {
        let before = self.session;
        while self.session == before || self.session == 0 {
            self.session = self.entropy.nonzero_u32();
        }
        self.hello_nonce = Some(nonce);
        self.telemetry_only = telemetry_only;
        self.expected = 1;
        self.cache.clear();
        self.lease = None;
        self.session_since_us = now_us;
        self.telemetry_period_us = u64::from(TELEMETRY_PERIOD_MS) * 1000;
        self.telemetry_due_us = now_us;
    }

    fn session_check(&self, header: &Header) -> Result<(), Refusal> {
        if self.session == 0 || header.session != self.session {
            return refuse!(
                NotThisSession,
                "session {:08x} is not the current one; open a session with HELLO",
                header.session
            );
        }
        if self.telemetry_only {
            return refuse!(
                TelemetryOnly,
                "version or dictionary differed at HELLO: this session carries telemetry and STOP only; use a matching host"
            );
        }
        Ok(())
    }

    /// Every command has a deadline by the device's clock; only HELLO, which comes before the clocks are known, and STOP have none.
    fn deadline_check(header: &Header, now_us: u64) -> Result<(), Refusal> {
        if header.flags & frame::FLAG_DEADLINE == 0 {
            return refuse!(
                Late,
                "type {:02x} needs a deadline; set flag bit 1 and deadline_us",
                header.kind
            );
        }
        let left = header.deadline_us.wrapping_sub(now_us as u32) as i32;
        if left < 0 {
            return refuse!(
                Late,
                "the deadline passed {} us ago by the device's clock; send it anew if it is still wanted",
                -i64::from(left)
            );
        }
        Ok(())
    }

    fn obey_lease(
        &mut self,
        now_us: u64,
        header: &Header,
        counter: u32,
        host_us: u64,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        self.session_check(header)?;
        if header.seq != 0 {
            return refuse!(
                Malformed,
                "LEASE is unsequenced and has seq {}; it must be 0",
                header.seq
            );
        }
        Self::deadline_check(header, now_us)?;
        if let Some(lease) = self.lease.as_ref().filter(|lease| counter <= lease.counter) {
            return refuse!(
                OutOfOrder,
                "lease counter {} does not rise above {}; the lease was not renewed",
                counter,
                lease.counter
            );
        }
        self.lease = Some(Lease {
            counter,
            at_us: now_us,
        });
        let mut body = [0; 28];
        let mut writer = Writer::new(&mut body);
        writer.u32(counter).u64(host_us).u64(now_us).u64(now_us);
        self.send(
            now_us,
            reply::LEASE_ACK,
            self.session,
            0,
            writer.filled(),
            sink,
        );
        Ok(())
    }

    fn obey_sequenced<M>(
        &mut self,
        now_us: u64,
        header: &Header,
        command: &Command<'_>,
        device: &mut impl Obey<M>,
        memory: &M,
        sink: &mut impl Sink,
    ) {
        if let Err(refusal) = self.session_check(header) {
            self.refuse(now_us, header, &refusal, sink);
            return;
        }
        if header.seq != self.expected {
            self.replay_or_refuse(now_us, header, sink);
            return;
        }
        self.expected = after(self.expected);
        self.counters.executed += 1;
        let mut buffer = core::mem::replace(&mut self.body, [0; frame::BODY_MAX]);
        let mut writer = Writer::new(&mut buffer);
        let kind = match self.begin(now_us, header, command, device, memory, &mut writer) {
            Ok(kind) => kind,
            Err(refusal) => {
                self.counters.refused += 1;
                writer.clear();
                self.write_refusal(header, &refusal, &mut writer);
                reply::REFUSED
            }
        };
        if self.cache.is_full() {
            self.cache.pop_front();
        }
        if let Ok(body) = heapless::Vec::from_slice(writer.filled()) {
            let _ = self.cache.push_back(Answer {
                seq: header.seq,
                kind,
                body,
            });
        }
        if kind == reply::STATUS_READ {
            // Before the reply, which frees a half-duplex line.
            self.send_status(now_us, device, sink);
        }
        self.send(
            now_us,
            kind,
            self.session,
            header.seq,
            writer.filled(),
            sink,
        );
        self.body = buffer;
    }

    fn begin<M>(
        &mut self,
        now_us: u64,
        header: &Header,
        command: &Command<'_>,
        device: &mut impl Obey<M>,
        memory: &M,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        Self::deadline_check(header, now_us)?;
        if command.is_barred_by_old_epoch() && header.epoch != self.epoch {
            return refuse!(
                OldEpoch,
                "epoch {} is not the current {}: a STOP came between; start anew",
                header.epoch,
                self.epoch
            );
        }
        match command {
            Command::Echo(payload) => {
                body.octets(payload);
                Ok(reply::ECHO)
            }
            Command::StatusRead => Ok(reply::STATUS_READ),
            Command::TelemetryRate { period_ms } => {
                if *period_ms != 0 && !TELEMETRY_PERIODS_MS.contains(period_ms) {
                    return refuse!(
                        Malformed,
                        "telemetry period {} ms is neither 0 nor within {} to {} ms",
                        period_ms,
                        TELEMETRY_PERIODS_MS.start(),
                        TELEMETRY_PERIODS_MS.end()
                    );
                }
                self.telemetry_period_us = u64::from(*period_ms) * 1000;
                self.telemetry_due_us = now_us + self.telemetry_period_us;
                body.u16(*period_ms);
                Ok(reply::TELEMETRY_RATE)
            }
            _ => device.obey(&self.context(now_us), command, memory, body),
        }
    }

    fn replay_or_refuse(&mut self, now_us: u64, header: &Header, sink: &mut impl Sink) {
        let Some(answer) = self.cache.iter().find(|answer| answer.seq == header.seq) else {
            let refusal = Refusal::new(
                Code::OutOfOrder,
                format_args!(
                    "seq {} is neither the next ({}) nor among the last {CACHE_LEN}; send from {} again",
                    header.seq, self.expected, self.expected
                ),
            );
            self.refuse(now_us, header, &refusal, sink);
            return;
        };
        self.counters.replayed += 1;
        let (kind, body) = (answer.kind, answer.body.clone());
        self.send(now_us, kind, self.session, header.seq, &body, sink);
    }
}

/// First 8 octets of the digest of the build.
pub fn build() -> [u8; 8] {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(BUILD.as_bytes());
    let mut first = [0; 8];
    for (octet, value) in first.iter_mut().zip(digest) {
        *octet = value;
    }
    first
}
