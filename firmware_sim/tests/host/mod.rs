//! A host for tests: it speaks CLP/1 to a room in virtual time and remembers what came back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]
#![allow(dead_code, reason = "each test file uses its own part")]

use igrt_firmware::kinematics::Family;
use igrt_firmware::limits;
use igrt_firmware::room::{Config, EnablePosition, Lies, LineName, Room};
use igrt_firmware::wire::frame::{self, DICTIONARY, Direction, FLAG_DEADLINE, Header};
use igrt_firmware::wire::message::reply;
use igrt_firmware::xray::physics::Physics;
use sha2::{Digest, Sha256};

pub const START: [f64; 6] = [-20e3, -350e3, -122.5e3, 0.0, 0.0, 0.0];

pub type Message = (Header, Vec<u8>);

pub struct Host {
    pub room: Room,
    pub session: u32,
    pub epoch: u16,
    pub leases: bool,
    seq: u16,
    counter: u32,
    nonce: u32,
    hello_nonce: u32,
    next_lease_us: u64,
    pub couch: Vec<Message>,
    pub status: Vec<u8>,
    /// All octets to the couch, and when.
    pub told: Vec<(u64, Vec<u8>)>,
}

pub fn room(seed: u64, family: Family, axes: [f64; 6]) -> Room {
    Room::new(Config {
        seed,
        family,
        limits: None,
        dialect: igrt_firmware::room::controller::Dialect::default(),
        axes,
        referenced: true,
        load_kg: 75.0,
        isocentre: [0.0; 3],
        setup_error: [0.0; 6],
        lies: Lies::Nothing,
        markers: 0,
        marker_spread_mm: 15.0,
        physics: Physics::default(),
        renders: true,
    })
    .unwrap()
}

pub fn framed(header: &Header, body: &[u8]) -> Vec<u8> {
    let (mut raw, mut encoded) = (vec![0; frame::RAW_MAX], vec![0; frame::ENCODED_MAX + 2]);
    let len = frame::encode(Direction::ToDevice, header, body, &mut raw, &mut encoded).unwrap();
    encoded.truncate(len);
    encoded
}

pub fn messages(octets: &[u8]) -> Vec<Message> {
    let mut raw = vec![0; frame::ENCODED_MAX];
    octets
        .split(|octet| *octet == 0)
        .filter(|run| !run.is_empty())
        .map(|run| {
            let (header, body) =
                frame::decode(Direction::ToHost, run, &mut raw).expect("a device sent a bad frame");
            (header, body.to_vec())
        })
        .collect()
}

impl Host {
    pub fn new(seed: u64) -> Self {
        Self::with(room(seed, Family::Pedestal, START))
    }

    pub fn with(room: Room) -> Self {
        let mut host = Self {
            room,
            session: 0,
            epoch: 0,
            leases: true,
            seq: 0,
            counter: 0,
            nonce: 0,
            hello_nonce: 0,
            next_lease_us: 0,
            couch: Vec::new(),
            status: Vec::new(),
            told: Vec::new(),
        };
        host.hello();
        host
    }

    pub fn hello(&mut self) {
        // A nonce of its own for every HELLO: the same again would be the same frame come twice.
        self.nonce += 1;
        self.hello_nonce = self.nonce;
        let mut body = vec![1, 1];
        body.extend(self.nonce.to_le_bytes());
        body.extend(DICTIONARY);
        self.session = 0;
        let ack = self.exchange(0x02, &body, 0, 0);
        assert_eq!((ack.0.kind, ack.1[0]), (reply::HELLO_ACK, 0));
        self.session = u32::from_le_bytes(ack.1[12..16].try_into().unwrap());
        self.epoch = ack.0.epoch;
        (self.seq, self.counter) = (0, 0);
        self.next_lease_us = self.room.now_us();
        self.run_us(1000);
    }

    /// The last HELLO comes once more, late; gives the session of its answer.
    pub fn hello_again(&mut self) -> u32 {
        let mut body = vec![1, 1];
        body.extend(self.hello_nonce.to_le_bytes());
        body.extend(DICTIONARY);
        let session = std::mem::take(&mut self.session);
        let ack = self.exchange(0x02, &body, 0, 0);
        self.session = session;
        u32::from_le_bytes(ack.1[12..16].try_into().unwrap())
    }

    pub fn header(&self, kind: u8, seq: u16) -> Header {
        let now = self.room.now_us();
        Header {
            kind,
            session: self.session,
            seq,
            epoch: self.epoch,
            flags: FLAG_DEADLINE,
            device: 1,
            t_us: now as u32,
            deadline_us: (now + 100_000) as u32,
            ..Header::default()
        }
    }

    fn exchange(&mut self, kind: u8, body: &[u8], seq: u16, flags: u8) -> Message {
        let header = Header {
            flags: flags | if kind < 0x20 { 0 } else { FLAG_DEADLINE },
            ..self.header(kind, seq)
        };
        let header = if kind < 0x20 {
            Header {
                deadline_us: 0,
                ..header
            }
        } else {
            header
        };
        self.send(&framed(&header, body));
        self.couch
            .iter()
            .rev()
            .find(|(h, _)| h.kind >= 0x1f)
            .cloned()
            .expect("an answer")
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.told.push((self.room.now_us(), octets.to_vec()));
        self.room.write(LineName::Couch, octets);
        self.collect();
    }

    fn collect(&mut self) {
        for message in messages(&self.room.read(LineName::Couch)) {
            if message.0.kind == reply::COUCH_STATUS {
                self.status = message.1;
            } else {
                self.couch.push(message);
            }
        }
    }

    pub fn command(&mut self, kind: u8, body: &[u8]) -> Message {
        self.seq += 1;
        self.exchange(kind, body, self.seq, 0)
    }

    pub fn last_seq(&self) -> u16 {
        self.seq
    }

    pub fn lease(&mut self) {
        self.counter += 1;
        let mut body = self.counter.to_le_bytes().to_vec();
        body.extend(self.room.now_us().to_le_bytes());
        let header = self.header(0x21, 0);
        self.send(&framed(&header, &body));
    }

    pub fn run_us(&mut self, us: u64) {
        let end = self.room.now_us() + us;
        while self.room.now_us() < end {
            if self.leases && self.room.now_us() >= self.next_lease_us {
                self.lease();
                self.next_lease_us = self.room.now_us() + 50_000;
            }
            let to = (self.room.now_us() + 1000).min(end);
            self.room.advance(to);
            self.collect();
        }
    }

    pub fn enable(&mut self, held: bool) {
        self.room.set_enable(
            if held {
                EnablePosition::Enabled
            } else {
                EnablePosition::Released
            },
            None,
        );
    }

    pub fn stop(&mut self) -> Message {
        self.nonce += 1;
        let mut body = vec![1];
        body.extend(self.nonce.to_le_bytes());
        let ack = self.exchange(0x01, &body, 0, 0);
        self.epoch = ack.0.epoch;
        ack
    }

    pub fn plan_body(&self, start: [i32; 6], waypoints: &[[i32; 6]]) -> Vec<u8> {
        let mut body = vec![0x5a; 32];
        body.extend(limits::short_digest(&limits::PEDESTAL));
        body.extend(60_000u32.to_le_bytes());
        body.extend(1_000_000u32.to_le_bytes());
        body.extend([6, waypoints.len() as u8]);
        start.iter().for_each(|v| body.extend(v.to_le_bytes()));
        body.extend(500u32.to_le_bytes());
        body.extend(200_000u32.to_le_bytes());
        waypoints
            .iter()
            .flatten()
            .for_each(|v| body.extend(v.to_le_bytes()));
        body
    }

    pub fn digest_of(plan: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"CLP1-PLAN");
        hash.update(plan);
        hash.finalize().into()
    }

    pub fn upload(&mut self, plan: &[u8]) -> Message {
        self.command(0x23, plan)
    }

    /// Uploads a plan from where the couch stands and executes it. Digest and nonce are those of the device.
    pub fn execute(&mut self, by: [i32; 6]) -> (Message, Vec<u8>) {
        let start = self.room.truth().primary;
        let mut target = start;
        target.iter_mut().zip(by).for_each(|(t, b)| *t += b);
        let plan = self.plan_body(start, &[target]);
        let reply = self.upload(&plan);
        assert_eq!(reply.0.kind, reply::PLAN, "{}", refusal(&reply));
        assert_eq!(
            reply.1[..32],
            Self::digest_of(&plan),
            "the digest is over the decoded values encoded again"
        );
        let mut body = reply.1[..36].to_vec();
        body.extend([9; 16]);
        (self.command(0x24, &body), body)
    }

    pub fn state(&self) -> u8 {
        self.room.truth().couch_state
    }

    pub fn wait_for(&mut self, state: u8, within_us: u64) {
        let end = self.room.now_us() + within_us;
        while self.state() != state {
            assert!(
                self.room.now_us() < end,
                "state {} is not {state} in time: {:?}",
                self.state(),
                self.room.truth()
            );
            self.run_us(1000);
        }
    }

    pub fn speed(&self) -> f64 {
        let s = self.room.truth().speeds;
        (s[0] * s[0] + s[1] * s[1] + s[2] * s[2]).sqrt()
    }
}

pub fn refusal(message: &Message) -> String {
    if message.0.kind == reply::REFUSED {
        format!(
            "code {}: {}",
            message.1[0],
            String::from_utf8_lossy(&message.1[6..])
        )
    } else {
        format!("type {:02x}", message.0.kind)
    }
}

pub fn code(message: &Message) -> u8 {
    if message.0.kind == reply::REFUSED {
        message.1[0]
    } else {
        0
    }
}
