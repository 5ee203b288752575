//! Certified sweeps against dense sampling: no contact missed, no bound above what is there, none needlessly low.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken scene ends the test"
)]

mod clearance_scenes;

use clearance_scenes::{Random, bumpy_tube, random_pose, random_solid, tube};
use igrt_motion::clearance::{
    Backend, CONTACT_MM, Chain, Geometry, Joint, Pair, PartSpec, Precision, Rigid, Room, Solid,
    SweepOptions, V3,
};

const TOLERANCE_MM: f64 = 0.5;

fn options(stations: usize) -> SweepOptions {
    SweepOptions {
        stations,
        tolerance_mm: TOLERANCE_MM,
        precision: Precision::fast(),
    }
}

/// A couch-like chain: turntable, slide, tilt.
fn couch(random: &mut Random, size: f64) -> Chain {
    let mut turn = |axis: V3, most: f64| {
        let from = random.between(-most, most);
        Joint::turn(axis, from, from + size * random.between(-most, most)).unwrap()
    };
    let (yaw, pitch, roll) = (turn(V3::z(), 1.5), turn(V3::x(), 0.05), turn(V3::y(), 0.05));
    let from = random.vector(200.0);
    let to = from + random.vector(300.0 * size);
    Chain {
        joints: vec![yaw, Joint::slide(from, to).unwrap(), pitch, roll],
    }
}

fn gantry(random: &mut Random, size: f64) -> Chain {
    let from = random.between(-3.0, 3.0);
    let turn = Joint::turn(V3::y(), from, from + size * random.between(-3.0, 3.0)).unwrap();
    let out = random.vector(20.0);
    Chain {
        joints: vec![turn, Joint::slide(out, out * size).unwrap()],
    }
}

fn scene(random: &mut Random, round: usize) -> Room {
    let body = bumpy_tube(random, 12, 14);
    let head = if round % 5 == 4 {
        Geometry::Surface(tube(random, 7, 9, V3::new(140.0, 110.0, 90.0)))
    } else {
        Geometry::Solid(random_solid(random, round % 5))
    };
    let place = V3::new(
        random.between(-100.0, 100.0),
        0.0,
        random.between(250.0, 700.0),
    );
    let parts = vec![
        PartSpec {
            name: "patient".to_owned(),
            frame: 0,
            placement: random_pose(random, 20.0),
            geometry: Geometry::Surface(body),
        },
        PartSpec {
            name: "couch top".to_owned(),
            frame: 0,
            placement: Rigid::slide(V3::new(0.0, 0.0, -150.0)),
            geometry: Geometry::Solid(Solid::Cuboid {
                half: V3::new(200.0, 500.0, 30.0),
            }),
        },
        PartSpec {
            name: "head".to_owned(),
            frame: 1,
            placement: Rigid::slide(place),
            geometry: head,
        },
    ];
    Room::new(2, parts, vec![Pair { a: 0, b: 2 }, Pair { a: 1, b: 2 }]).unwrap()
}

/// Sweeps against dense sampling; returns how many had contact and how many were clear.
fn check_sweeps(random: &mut Random, rounds: usize, samples: u32) -> (usize, usize) {
    let (mut contacts, mut clear) = (0, 0);
    for round in 0..rounds {
        let room = scene(random, round);
        let size = if round % 2 == 0 { 0.1 } else { 1.0 };
        // The couch alone, the machine alone (a gantry with an arm), both.
        let still = |chain: Chain| Chain::still(chain.pose(0.3));
        let (couch, gantry) = (couch(random, size), gantry(random, size));
        let chains = match round % 4 {
            0 => [couch, still(gantry)],
            1 => [still(couch), gantry],
            _ => [couch, gantry],
        };
        let stations = 1 + round % 9;
        let sweep = room.sweep(&chains, &options(stations)).unwrap();
        let mut least = f64::INFINITY;
        let mut first_contact = None;
        for at in 0..=samples {
            let s = f64::from(at) / f64::from(samples);
            let poses = chains.each_ref().map(|chain| chain.pose(s));
            let found = room.separations(&poses, Precision::exact()).unwrap();
            let truth = found
                .iter()
                .map(|x| x.upper_mm)
                .fold(f64::INFINITY, f64::min);
            least = least.min(truth);
            if truth <= 0.0 && first_contact.is_none() {
                first_contact = Some(s);
            }
            let station = ((s * stations as f64) as usize).min(stations - 1);
            let bound = sweep.stations[station].lower_mm;
            assert!(
                bound <= truth.max(0.0),
                "round {round}, s {s}: bound {bound} above {truth}"
            );
        }
        assert!(sweep.lower_mm <= least.max(0.0), "round {round}");
        match (first_contact, sweep.contact) {
            (Some(s), Some(place)) => {
                contacts += 1;
                assert!(
                    place.s <= s,
                    "round {round}: contact at {} but parts met at {s}",
                    place.s
                );
                assert!(
                    place.separation.lower_mm <= CONTACT_MM + 2e-3,
                    "round {round}: {place:?}"
                );
            }
            (Some(s), None) => panic!("round {round}: the contact at {s} was missed"),
            (None, Some(place)) => {
                // Between two samples, or as near as the fast search can tell.
                assert!(
                    place.separation.lower_mm <= CONTACT_MM + 2e-3,
                    "round {round}: {place:?}"
                );
            }
            (None, None) => {
                clear += 1;
                let attained = sweep.nearest.unwrap().separation.upper_mm;
                assert!(sweep.lower_mm > 0.0 && sweep.lower_mm >= attained - TOLERANCE_MM - 0.02);
                assert!(
                    attained <= least + TOLERANCE_MM + 0.02,
                    "round {round}: {attained} but {least} was sampled"
                );
            }
        }
    }
    (contacts, clear)
}

#[test]
fn sweeps_hold_against_dense_sampling() {
    let (contacts, clear) = check_sweeps(&mut Random(2024), 120, 300);
    assert!(
        contacts > 20 && clear > 20,
        "{contacts} contacts, {clear} clear"
    );
}

/// The campaign: `cargo test --release -p igrt-motion --test clearance_sweeps -- --ignored --nocapture`.
#[test]
#[ignore = "a hundred thousand sweeps, sampled at a thousandth of the step: an hour"]
fn of_a_hundred_thousand_sweeps_no_contact_is_missed() {
    let count = std::env::var("SWEEPS").ok().and_then(|x| x.parse().ok());
    let seed = std::env::var("SEED").ok().and_then(|x| x.parse().ok());
    let mut random = Random(seed.unwrap_or(0xBEEF));
    let (contacts, clear) = check_sweeps(&mut random, count.unwrap_or(100_000), 1000);
    println!("{contacts} with contact, {clear} clear, none missed");
}

#[test]
fn every_path_gives_the_same_sweep() {
    let mut random = Random(88);
    for round in 0..5 {
        let room = scene(&mut random, round);
        let chains = [couch(&mut random, 0.5), gantry(&mut random, 0.5)];
        let ask = |backend| {
            let precision = Precision {
                exact: false,
                backend,
            };
            let options = SweepOptions {
                precision,
                ..options(2)
            };
            room.sweep(&chains, &options).unwrap()
        };
        let portable = ask(Backend::Portable);
        for backend in Backend::all_here() {
            assert_eq!(ask(backend), portable, "round {round}, {backend:?}");
        }
    }
}

#[test]
fn a_grazing_corner_between_two_samples_is_found() {
    // A thin rod passes a thin plate: at the ends and in the middle of the path they are far apart.
    let rod = Solid::Capsule {
        radius: 1.0,
        half_length: 50.0,
    };
    let plate = Solid::Cuboid {
        half: V3::new(300.0, 0.5, 300.0),
    };
    let part = |name: &str, frame, solid| PartSpec {
        name: name.to_owned(),
        frame,
        placement: Rigid::identity(),
        geometry: Geometry::Solid(solid),
    };
    let parts = vec![part("rod", 0, rod), part("plate", 1, plate)];
    let room = Room::new(2, parts, vec![Pair { a: 0, b: 1 }]).unwrap();
    let path = Joint::slide(V3::new(0.0, -700.0, 0.0), V3::new(0.0, 1300.0, 0.0)).unwrap();
    let chains = [
        Chain { joints: vec![path] },
        Chain::still(Rigid::identity()),
    ];
    let contact = room.sweep(&chains, &options(1)).unwrap().contact.unwrap();
    let met = (700.0 - 1.5) / 2000.0;
    assert!(contact.s <= met && contact.s > met - 1e-4, "{contact:?}");
}

#[test]
fn a_motion_that_stands_still_is_one_distance() {
    let mut random = Random(5);
    let room = scene(&mut random, 1);
    let poses = [Rigid::identity(), Rigid::slide(V3::new(0.0, 0.0, 900.0))];
    let chains = poses.map(Chain::still);
    let sweep = room.sweep(&chains, &options(3)).unwrap();
    let found = room.separations(&poses, Precision::exact()).unwrap();
    let truth = found
        .iter()
        .map(|x| x.upper_mm)
        .fold(f64::INFINITY, f64::min);
    assert!(sweep.lower_mm <= truth && sweep.lower_mm > truth - 0.03);
}

#[test]
fn questions_without_an_answer_are_refused() {
    let mut random = Random(5);
    let room = scene(&mut random, 0);
    let chains = [Chain::default(), Chain::default()];
    for (stations, tolerance_mm) in [(0, 0.5), (100_001, 0.5), (4, 0.0), (4, f64::NAN), (4, 1e9)] {
        let options = SweepOptions {
            stations,
            tolerance_mm,
            precision: Precision::fast(),
        };
        assert!(room.sweep(&chains, &options).is_err());
    }
    assert!(room.sweep(&chains[..1], &options(4)).is_err());
    assert!(
        room.separations(&[Rigid::identity()], Precision::fast())
            .is_err()
    );
    assert!(Joint::turn(V3::zeros(), 0.0, 1.0).is_err());
    assert!(Joint::turn(V3::z(), 0.0, f64::INFINITY).is_err());
    assert!(Joint::slide(V3::zeros(), V3::repeat(f64::NAN)).is_err());
}
