//! Promises of the hexapod controller, on its own mechanics.

use super::*;
use crate::couch::enable::Contacts;
use crate::plant::{CYCLE_US, Plant};
use proptest::prelude::*;

const FAMILY: Family = Family::Platform {
    base: [0.0; 3],
    legs: crate::kinematics::LEGS,
};

struct Bench {
    plant: Plant,
    gcs: Gcs,
    drive: Drive,
    wires: Wires,
    now_us: u64,
}

impl Bench {
    fn new() -> Self {
        let limits = FAMILY.limits();
        let plant = Plant::new(&FAMILY, &limits, [0.0; AXES], 75.0, 7);
        let config = Config {
            family: FAMILY,
            limits,
            referenced: true,
            power_was_lost: false,
        };
        let gcs = Gcs::new(&config, plant.sensors());
        let mut bench = Self {
            plant,
            gcs,
            drive: Drive::default(),
            wires: Wires {
                arms_parked: true,
                ..Wires::default()
            },
            now_us: 0,
        };
        bench.advance(5);
        bench
    }

    fn hold(&mut self, held: bool) {
        self.wires.enable = Contacts {
            a: held,
            b: held,
            squeezed: false,
        };
    }

    fn advance(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_us += CYCLE_US;
            self.plant.cycle(self.now_us, &self.drive);
            self.drive = self
                .gcs
                .tick(self.now_us, &self.wires, self.plant.sensors());
        }
    }

    fn say(&mut self, text: &str) -> String {
        let mut out = Vec::new();
        self.gcs.receive(self.now_us, text.as_bytes(), &mut out);
        out.iter().map(|octet| char::from(*octet)).collect()
    }

    fn error(&mut self) -> u16 {
        self.say("ERR?\n").trim().parse().unwrap()
    }

    /// Enable held, servo on, brakes open.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.hold(true);
        bench.advance(10);
        bench.say("SVO X 1 Y 1 Z 1 U 1 V 1 W 1\n");
        bench.advance(200);
        assert_eq!(bench.error(), 0);
        bench
    }

    fn stands_near_zero(&self) -> bool {
        let [a, b, c, turns @ ..] = self.plant.axes();
        [a, b, c].iter().all(|at| at.abs() < 200.0) && turns.iter().all(|at| at.abs() < 20_000.0)
    }

    fn speed(&self) -> f64 {
        self.plant
            .speeds()
            .iter()
            .map(|speed| speed.abs())
            .fold(0.0, f64::max)
    }
}

#[test]
fn answers_of_many_lines_have_a_space_before_every_lf_but_the_last() {
    let mut bench = Bench::new();
    assert_eq!(bench.say("SAI?\n"), "X \nY \nZ \nU \nV \nW\n");
    assert_eq!(bench.say("SVO? U X\n"), "U=0 \nX=0\n", "in the order asked");
    let help = bench.say("HLP?\n");
    assert!(help.ends_with("end of help\n") && help.contains("#24 stop all axes \n"));
}

#[test]
fn unknown_command_is_code_2_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.say("WGO 1 1\n"), "");
    assert_eq!((bench.error(), bench.error()), (2, 0));
}

#[test]
fn move_goes_to_its_target_and_is_on_target_there() {
    let mut bench = Bench::ready();
    bench.say("MOV X 5 W 1\n");
    assert_eq!(bench.say("\x05"), "3F\n");
    bench.advance(3000);
    assert_eq!(bench.say("\x05"), "0\n");
    assert_eq!(bench.say("ONT? X W\n"), "X=1 \nW=1\n");
    let [lateral, _, _, rotation, ..] = bench.plant.axes();
    assert!((lateral - 5000.0).abs() < 30.0 && (rotation - 1e6).abs() < 5000.0);
    assert_eq!(bench.error(), 0);
}

#[test]
fn nothing_moves_without_reference_servo_or_enable() {
    let mut bench = Bench::new();
    bench.say("MOV X 5\n");
    assert_eq!(bench.error(), 508, "the chain is open");
    bench.say("SVO X 1\n");
    assert_eq!(bench.error(), 508);
    bench.hold(true);
    bench.advance(10);
    bench.say("MOV X 5\n");
    assert_eq!(bench.error(), 5, "the servo is off");
    bench.gcs.core.referenced = false;
    bench.say("SVO X 1\nMOV X 5\n");
    assert_eq!(bench.error(), 5, "not referenced");
    bench.advance(500);
    assert!(bench.stands_near_zero());
}

#[test]
fn enable_released_brings_to_rest_engages_the_brakes_and_does_not_go_on_by_itself() {
    let mut bench = Bench::ready();
    bench.say("MOV X 20\n");
    bench.advance(1500);
    assert!(bench.speed() > 1000.0);
    bench.hold(false);
    bench.advance(800);
    assert_eq!(bench.speed(), 0.0);
    assert!(bench.plant.sensors().brakes_engaged);
    assert_eq!(bench.error(), 657);
    assert_eq!(bench.say("SVO? X\n"), "X=0\n");
    let stands = bench.plant.axes();
    bench.hold(true);
    bench.advance(2000);
    let now = bench.plant.axes();
    let moved = now.iter().zip(&stands).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f64::max) < 20.0);
}

#[test]
fn stop_octet_in_the_middle_of_a_line_stops_at_once_with_code_10() {
    let mut bench = Bench::ready();
    bench.say("MOV X 20\n");
    bench.advance(1500);
    bench.say("MOV X 2\x18");
    bench.advance(300);
    assert!(bench.speed() < 50.0, "{}", bench.speed());
    assert_eq!(bench.error(), 10);
    let target = bench.say("MOV? X\n");
    assert!(!target.starts_with("X=20."), "{target}");
}

#[test]
fn emergency_stop_is_told_while_pressed_and_after_until_the_servo_is_switched_on() {
    let mut bench = Bench::ready();
    bench.say("MOV X 20\n");
    bench.advance(1000);
    bench.wires.estop = true;
    bench.advance(300);
    assert!(bench.plant.sensors().brakes_engaged);
    assert_eq!((bench.error(), bench.error()), (500, 500));
    bench.wires.estop = false;
    bench.advance(10);
    assert_eq!(bench.error(), 501);
    bench.say("MOV X 1\n");
    assert_eq!(bench.error(), 5);
    bench.say("SVO X 1\n");
    assert_eq!(bench.error(), 0);
}

#[test]
fn target_beyond_travel_or_struts_is_code_7_and_vmo_says_so_before() {
    let mut bench = Bench::ready();
    assert_eq!(bench.say("VMO? X 30.1\n"), "0\n");
    bench.say("MOV X 30.1\n");
    assert_eq!(bench.error(), 7);
    assert_eq!(bench.say("VMO? Y 30 Z 30 U 3 V 3 W 3\n"), "0\n");
    assert_eq!(bench.say("VMO? X 10 Y -10\n"), "1\n");
    bench.say("PLM X 5\nSSL X 1\nMOV X 6\n");
    assert_eq!(bench.error(), 7, "soft limit");
}

#[test]
fn reference_move_comes_back_and_makes_moves_possible() {
    let mut bench = Bench::new();
    bench.gcs.core.referenced = false;
    bench.hold(true);
    bench.advance(10);
    bench.say("FRF\n");
    assert_eq!(bench.say("\x07"), "\u{b0}\n");
    bench.advance(6000);
    assert_eq!(bench.say("\x07FRF? X\n"), "\u{b1}\nX=1\n");
    assert!(bench.stands_near_zero());
}

#[test]
fn jammed_strut_axis_is_a_following_error_and_latches() {
    let mut bench = Bench::ready();
    let mut faults = crate::plant::Faults::default();
    faults.axis[0] = crate::plant::AxisFault::Stuck;
    bench.plant.set_faults(faults);
    bench.say("MOV X 20\n");
    bench.advance(3000);
    assert_eq!(bench.error(), 504);
    assert!(bench.gcs.at_rest());
}

#[test]
fn new_target_in_mid_motion_is_gone_to_after_a_rest() {
    let mut bench = Bench::ready();
    bench.say("MOV X 20\n");
    bench.advance(1000);
    bench.say("MOV X 2\n");
    bench.advance(8000);
    assert!((bench.plant.axes()[0] - 2000.0).abs() < 30.0);
}

#[test]
fn rotations_are_those_of_the_manual_not_those_of_iec() {
    let mut bench = Bench::ready();
    bench.say("MOV U 2\n");
    bench.advance(6000);
    bench.say("MOV W 2\n");
    bench.advance(6000);
    // R = Rx(2) Rz(2): seen as Rz Rx Ry it has a roll that no axis of its own was told.
    let [_, _, _, _, _, roll] = bench.plant.axes();
    assert!(roll.abs() > 50_000.0, "{roll}");
    let shown = bench.say("POS? V\n");
    let v: f64 = shown.trim().trim_start_matches("V=").parse().unwrap();
    assert!(v.abs() < 0.01, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_octets_panic_or_move_without_the_enable(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut bench = Bench::new();
        let mut out = Vec::new();
        for chunk in &chunks {
            bench.gcs.receive(bench.now_us, chunk, &mut out);
            bench.advance(3);
            prop_assert!(bench.gcs.at_rest());
        }
    }

    #[test]
    fn no_commands_move_without_the_enable_and_none_leave_the_limits_with_it(
        lines in prop::collection::vec((0usize..12, prop::collection::vec(-40.0f64..40.0, 6), any::<bool>()), 1..16),
        enabled: bool,
    ) {
        let mut bench = if enabled { Bench::ready() } else { Bench::new() };
        for (which, v, hold) in &lines {
            let text = match which {
                0 => "SVO X 1\n".to_owned(),
                1 => "SVO X 0\n".to_owned(),
                2..=4 => format!("MOV X {} Y {} Z {} U {} V {} W {}\n", v[0], v[1], v[2], v[3] / 10.0, v[4] / 10.0, v[5] / 10.0),
                5 => format!("MVR X {} W {}\n", v[0] / 10.0, v[5] / 40.0),
                6 => "FRF\n".to_owned(),
                7 => format!("SPI R {} T {}\n", v[0], v[2] * 5.0),
                8 => format!("KSD A X {} W {}\nKEN A\n", v[0], v[5]),
                9 => "KSF B\nKEN B\n".to_owned(),
                10 => "HLT X\n".to_owned(),
                _ => format!("VLS {}\nKEN 0\n\x18", v[0].abs()),
            };
            bench.say(&text);
            if enabled { bench.hold(*hold); }
            bench.advance(400);
            if !enabled { prop_assert!(bench.gcs.at_rest(), "{}", text); }
            for (at, range) in bench.plant.axes().iter().zip([31e3, 31e3, 31e3, 3.3e6, 3.3e6, 3.3e6]) {
                prop_assert!(at.abs() < range, "{} of {}", at, range);
            }
        }
    }
}
