//! Maps against single questions: the same clearances, and no cell called clear or in contact that is not, everywhere inside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken scene ends the test"
)]

mod clearance_scenes;

use clearance_scenes::{Random, bumpy_tube, random_solid, rounds, tube};
use igrt_motion::clearance::{
    Backend, CONTACT_MM, CellFloor, CellState, Chain, Drive, EXACT_SLACK_MM, Geometry, Grid, Joint,
    MapAxis, Pair, PartSpec, Precision, Rigid, Room, Separation, Solid, V3,
};

/// A kind of head that is not convex.
const MESH: usize = 4;

fn scene(random: &mut Random, kind: usize) -> Room {
    let part = |name: &str, frame, place: [f64; 3], geometry| PartSpec {
        name: name.to_owned(),
        frame,
        placement: Rigid::slide(V3::from(place)),
        geometry,
    };
    let cuboid = |x, y, z| {
        Geometry::Solid(Solid::Cuboid {
            half: V3::new(x, y, z),
        })
    };
    let parts = vec![
        part(
            "patient",
            1,
            [0.0, -50.0, 10.0],
            Geometry::Surface(bumpy_tube(random, 14, 16)),
        ),
        part(
            "couch top",
            1,
            [0.0, -250.0, -150.0],
            cuboid(200.0, 500.0, 30.0),
        ),
        part(
            "head",
            0,
            [0.0, 0.0, 420.0],
            if kind == MESH {
                Geometry::Surface(tube(random, 9, 12, V3::new(150.0, 120.0, 100.0)))
            } else {
                Geometry::Solid(random_solid(random, kind))
            },
        ),
        part("panel", 0, [-330.0, 0.0, 0.0], cuboid(20.0, 100.0, 100.0)),
        part(
            "rod",
            0,
            [300.0, 200.0, 0.0],
            Geometry::Solid(Solid::Capsule {
                radius: 20.0,
                half_length: 60.0,
            }),
        ),
    ];
    let pairs = [0, 1]
        .into_iter()
        .flat_map(|a| [2, 3, 4].map(|b| Pair { a, b }))
        .collect();
    Room::new(2, parts, pairs).unwrap()
}

/// Gantry on the rows; on the columns a turntable under a still slide, a slide, or everything at once. Then any two axes:
/// two of the couch with the machine still, and two of the machine with the couch still.
fn drives(random: &mut Random, kind: usize) -> Vec<Drive> {
    let gantry = Joint::turn(V3::y(), -2.0, 3.5).unwrap();
    let turn = Joint::turn(V3::z(), -1.5, 1.5).unwrap();
    let slide = Joint::slide(
        V3::new(-100.0, -300.0, -200.0),
        V3::new(100.0, 400.0, 100.0),
    )
    .unwrap();
    let still = Joint::Fixed(Rigid::slide(random.vector(40.0)));
    let (row, column) = (MapAxis::Row, MapAxis::Column);
    let arm = Joint::slide(V3::new(0.0, 0.0, -40.0), V3::new(0.0, 0.0, 150.0)).unwrap();
    match kind {
        3 => {
            let stands = Rigid::turn(&V3::y(), random.between(-2.0, 3.5));
            return vec![
                Drive::Row(Chain::still(stands)),
                Drive::Both(vec![(column, turn), (row, still), (row, slide)]),
            ];
        }
        4 => {
            return vec![
                Drive::Both(vec![(row, gantry), (column, arm)]),
                Drive::Row(Chain::still(Rigid::turn(&V3::z(), 0.4))),
            ];
        }
        _ => {}
    }
    let couch = match kind {
        0 => vec![turn, still],
        1 => vec![still, slide],
        _ => vec![turn, still, slide, Joint::turn(V3::x(), -0.1, 0.1).unwrap()],
    };
    vec![
        Drive::Row(Chain {
            joints: vec![gantry],
        }),
        Drive::Column(Chain { joints: couch }),
    ]
}

fn at(room: &Room, drives: &[Drive], u: f64, v: f64) -> Vec<Separation> {
    let poses: Vec<Rigid> = drives.iter().map(|drive| drive.pose(u, v)).collect();
    room.separations(&poses, Precision::exact()).unwrap()
}

fn least(found: &[Separation]) -> f64 {
    found
        .iter()
        .map(|one| one.upper_mm)
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn every_cell_of_a_map_holds_what_a_single_question_finds() {
    let mut random = Random(77);
    for round in 0..rounds(15) {
        let room = scene(&mut random, round * 3 % 5);
        let drives = drives(&mut random, round % 5);
        let grid = Grid {
            rows: 23,
            columns: 11,
        };
        let cells = room.map(&drives, grid, Precision::fast()).unwrap();
        let all = room.pairs_map(&drives, grid, Precision::fast()).unwrap();
        let hits = room
            .contact_map(&drives, grid, 0.0, Precision::fast())
            .unwrap();
        let near = room
            .contact_map(&drives, grid, 25.0, Precision::fast())
            .unwrap();
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                let cell = row * grid.columns + column;
                let u = (row as f64 + 0.5) / grid.rows as f64;
                let v = (column as f64 + 0.5) / grid.columns as f64;
                let found = at(&room, &drives, u, v);
                let truth = least(&found).max(0.0);
                let given = cells[cell];
                assert!(
                    given.lower_mm <= truth + 1e-6 && given.lower_mm >= truth - 0.02,
                    "{given:?} for {truth}"
                );
                assert!(
                    found[given.pair as usize].upper_mm <= truth + 0.02,
                    "{given:?}: another pair is nearer"
                );
                for (number, one) in found.iter().enumerate() {
                    let pair = all[cell * found.len() + number];
                    let truth = one.upper_mm.max(0.0);
                    assert!(
                        pair <= truth + 1e-6 && pair >= truth - 0.02,
                        "pair {number}: {pair} for {truth}"
                    );
                }
                assert!(hits[cell] || truth > 0.0, "contact missed");
                assert!(
                    !hits[cell] || truth <= 2.0 * CONTACT_MM,
                    "{truth} called contact"
                );
                assert!(near[cell] || truth > 25.0, "{truth} missed");
                assert!(
                    !near[cell] || truth <= 25.0 + 2.0 * CONTACT_MM,
                    "{truth} called nearer than 25"
                );
            }
        }
    }
}

/// The clearance of the scene at one place, without depths: the truth less at most `EXACT_SLACK_MM`, zero for contact.
fn exact_at(room: &Room, drives: &[Drive], u: f64, v: f64) -> f64 {
    let still: Vec<Drive> = drives
        .iter()
        .map(|drive| Drive::Row(Chain::still(drive.pose(u, v))))
        .collect();
    let one = Grid {
        rows: 1,
        columns: 1,
    };
    room.map(&still, one, Precision::exact()).unwrap()[0].lower_mm
}

/// A room with what was certified of it.
struct Certified {
    room: Room,
    drives: Vec<Drive>,
    margin: f64,
    states: Vec<CellState>,
    floors: Vec<CellFloor>,
}

const FINE: Grid = Grid {
    rows: 150,
    columns: 90,
};
const COARSE: Grid = Grid {
    rows: 15,
    columns: 9,
};

impl Certified {
    fn new(random: &mut Random, round: usize) -> Self {
        let room = scene(random, round % 5);
        let drives = drives(random, round * 3 % 5);
        let margin = if round.is_multiple_of(2) { 0.0 } else { 20.0 };
        let states = room
            .certified_map(&drives, FINE, margin, Precision::fast())
            .unwrap();
        let floors = room.floor_map(&drives, COARSE, Precision::fast()).unwrap();
        Self {
            room,
            drives,
            margin,
            states,
            floors,
        }
    }

    /// Holds what was certified against the truth at one place.
    fn check(&self, u: f64, v: f64, place: usize) -> CellState {
        let cell = |grid: Grid| {
            (u * grid.rows as f64) as usize * grid.columns + (v * grid.columns as f64) as usize
        };
        let truth = exact_at(&self.room, &self.drives, u, v);
        if place.is_multiple_of(20) {
            let other = least(&at(&self.room, &self.drives, u, v)).max(0.0);
            assert!((truth - other).abs() < 1e-6, "({u}, {v}): {truth}, {other}");
        }
        let (state, floor) = (self.states[cell(FINE)], self.floors[cell(COARSE)]);
        let slack = 2.0 * EXACT_SLACK_MM;
        assert!(
            floor.lower_mm <= truth + slack,
            "({u}, {v}): {truth} below {floor:?}"
        );
        match state {
            CellState::Clear => assert!(
                truth + slack >= self.margin && truth > 0.0,
                "({u}, {v}): {truth} in a cell called clear"
            ),
            CellState::Contact => {
                assert!(truth <= 0.0, "({u}, {v}): {truth} in a cell called contact")
            }
            CellState::Open => {}
        }
        state
    }
}

/// Random places inside cells against what was certified of them; returns how many were clear, in contact, open.
fn check_interiors(random: &mut Random, rounds: usize, places: usize) -> [usize; 3] {
    let mut seen = [0; 3];
    for round in 0..rounds {
        let certified = Certified::new(random, round);
        for place in 0..places {
            let (u, v) = (random.unit(), random.unit());
            seen[match certified.check(u, v, place) {
                CellState::Clear => 0,
                CellState::Contact => 1,
                CellState::Open => 2,
            }] += 1;
        }
        if places >= 10_000 {
            println!(
                "{} rooms, {seen:?} places clear, in contact, open",
                round + 1
            );
        }
    }
    seen
}

#[test]
fn cells_called_clear_or_in_contact_are_so_everywhere_inside_and_floors_hold() {
    let [clear, contact, open] = check_interiors(&mut Random(4242), 10, 600);
    assert!(
        clear > 1000 && contact > 500 && open < clear + contact,
        "{clear} clear, {contact} contact, {open} open"
    );
}

/// The campaign: `cargo test --release -p igrt-motion --test clearance_maps -- --ignored --nocapture`; ROOMS (100, of
/// 10,000 places each) and SEED may be set.
#[test]
#[ignore = "a million places: minutes"]
fn of_a_million_random_places_none_is_other_than_certified() {
    let given = |name: &str| std::env::var(name).ok().and_then(|x| x.parse().ok());
    let seed = given("SEED").unwrap_or(0x00C0_FFEE);
    let rooms = given("ROOMS").map_or(100, |count| count as usize);
    let [clear, contact, open] = check_interiors(&mut Random(seed), rooms, 10_000);
    println!("{clear} clear, {contact} in contact, {open} open, none wrong");
}

#[test]
fn a_floor_is_not_needlessly_low() {
    let mut random = Random(31);
    let room = scene(&mut random, 1);
    let drives = drives(&mut random, 0);
    let grid = Grid {
        rows: 90,
        columns: 45,
    };
    let middles = room.map(&drives, grid, Precision::fast()).unwrap();
    let floors = room.floor_map(&drives, grid, Precision::fast()).unwrap();
    let kept = middles.iter().zip(&floors);
    let (mut apart, mut white) = (0, 0);
    for (middle, floor) in kept {
        // A middle is reported up to 0.02 mm low.
        assert!(floor.lower_mm <= middle.lower_mm + 0.02);
        if middle.lower_mm > 30.0 {
            apart += 1;
            white += usize::from(floor.lower_mm > 0.0);
        }
    }
    assert!(
        apart > 100 && white * 10 > apart * 9,
        "{white} of {apart} clear cells have a floor"
    );
}

#[test]
fn maps_are_the_same_whatever_the_threads_and_the_path() {
    let mut random = Random(9);
    let grid = Grid {
        rows: 8,
        columns: 5,
    };
    for (kind, axes) in [(1, 2), (3, 3), (MESH, 4), (0, 0)] {
        let room = scene(&mut random, kind);
        let drives = drives(&mut random, axes);
        let ask = |threads: usize, backend: Backend| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let precision = Precision {
                exact: false,
                backend,
            };
            pool.install(|| {
                (
                    room.map(&drives, grid, precision).unwrap(),
                    room.pairs_map(&drives, grid, precision).unwrap(),
                    room.contact_map(&drives, grid, 10.0, precision).unwrap(),
                    room.certified_map(&drives, grid, 10.0, precision).unwrap(),
                    room.floor_map(&drives, grid, precision).unwrap(),
                )
            })
        };
        let one = ask(1, Backend::Portable);
        for backend in Backend::all_here() {
            for threads in [1, 2, 4] {
                assert!(
                    ask(threads, backend) == one,
                    "scene {kind}, axes {axes}, {threads} threads, {backend:?}"
                );
            }
        }
    }
}

#[test]
fn maps_of_no_or_too_many_cells_are_refused() {
    let mut random = Random(9);
    let room = scene(&mut random, 1);
    let drives = drives(&mut random, 0);
    for (rows, columns) in [(0, 5), (5, 0), (usize::MAX, 2), (5000, 5000)] {
        assert!(
            room.map(&drives, Grid { rows, columns }, Precision::fast())
                .is_err()
        );
    }
    let grid = Grid {
        rows: 2,
        columns: 2,
    };
    assert!(room.map(&drives[..1], grid, Precision::fast()).is_err());
    assert!(
        room.certified_map(&drives, grid, f64::NAN, Precision::fast())
            .is_err()
    );
}
