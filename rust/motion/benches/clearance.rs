//! Microseconds and milliseconds of clearance questions, one thread: a patient of 40,000 triangles, a couch top, a gantry head,
//! a kV source, two panels, a floor.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark may stop at the first surprise"
)]

use std::hint::black_box;
use std::sync::OnceLock;

use divan::Bencher;
use igrt_motion::clearance::{
    Chain, Drive, Geometry, Grid, Joint, Mesh, Pair, PartSpec, Precision, Rigid, Room, Solid,
    SweepOptions, V3,
};

fn main() {
    // Maps use every core; the figures are for one.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .unwrap();
    divan::main();
}

const GRID: Grid = Grid {
    rows: 180,
    columns: 90,
};

/// Head, neck, torso and legs as one tube about y: 220 rings of 90 corners and two caps, 39,600 triangles.
fn patient() -> Mesh {
    let (rings, sides) = (220, 90);
    let profile = |t: f64| -> (f64, f64) {
        let knots = [
            (0.0, 60.0, 60.0),
            (0.05, 80.0, 100.0),
            (0.12, 60.0, 60.0),
            (0.17, 220.0, 110.0),
            (0.35, 190.0, 125.0),
            (0.5, 180.0, 115.0),
            (0.75, 150.0, 80.0),
            (1.0, 90.0, 60.0),
        ];
        let at = knots.iter().position(|k| k.0 >= t).unwrap_or(7).max(1);
        let ((t0, x0, z0), (t1, x1, z1)) = (knots[at - 1], knots[at]);
        let k = (t - t0) / (t1 - t0);
        (x0 + (x1 - x0) * k, z0 + (z1 - z0) * k)
    };
    let mut vertices = vec![[0.0, 700.0, 0.0], [0.0, -1100.0, 0.0]];
    for ring in 0..rings {
        let t = (f64::from(ring) + 0.5) / f64::from(rings);
        let (rx, rz) = profile(t);
        for side in 0..sides {
            let a = std::f64::consts::TAU * f64::from(side) / f64::from(sides);
            let bump = 1.0 + 0.02 * (7.0 * a + 40.0 * t).sin() + 0.01 * (13.0 * a - 90.0 * t).cos();
            vertices.push([rx * bump * a.cos(), 700.0 - 1800.0 * t, rz * bump * a.sin()]);
        }
    }
    let at = |ring: u32, side: u32| 2 + ring * sides as u32 + side % sides as u32;
    let (rings, sides) = (rings as u32, sides as u32);
    let mut triangles = vec![];
    for side in 0..sides {
        triangles.push([0, at(0, side + 1), at(0, side)]);
        triangles.push([1, at(rings - 1, side), at(rings - 1, side + 1)]);
        for ring in 0..rings - 1 {
            let (a, b) = (at(ring, side), at(ring, side + 1));
            let (c, d) = (at(ring + 1, side), at(ring + 1, side + 1));
            triangles.extend([[a, b, c], [b, d, c]]);
        }
    }
    Mesh::new("patient", &vertices, &triangles).unwrap()
}

/// Frames: fixed, gantry, table top.
fn room(couch_parts: &[usize], machine_parts: &[usize]) -> Room {
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
    let head = Geometry::Solid(Solid::Cylinder {
        radius: 380.0,
        half_length: 200.0,
    });
    let couch = [
        part("patient", 2, [0.0; 3], Geometry::Surface(patient())),
        part(
            "couch top",
            2,
            [0.0, -550.0, -165.0],
            cuboid(265.0, 1000.0, 40.0),
        ),
    ];
    let machine = [
        part("gantry head", 1, [0.0, 0.0, 615.0], head),
        part(
            "kV source",
            1,
            [1000.0, 0.0, 0.0],
            cuboid(100.0, 150.0, 150.0),
        ),
        part(
            "kV panel",
            1,
            [-540.0, 0.0, 0.0],
            cuboid(40.0, 220.0, 220.0),
        ),
        part(
            "MV panel",
            1,
            [0.0, 0.0, -600.0],
            cuboid(220.0, 250.0, 50.0),
        ),
        part(
            "floor",
            0,
            [0.0, 0.0, -1350.0],
            cuboid(3000.0, 3000.0, 50.0),
        ),
    ];
    let parts: Vec<PartSpec> = couch_parts
        .iter()
        .map(|&at| couch[at].clone())
        .chain(machine_parts.iter().map(|&at| machine[at].clone()))
        .collect();
    let count = couch_parts.len();
    let pairs = (0..count)
        .flat_map(|a| (count..parts.len()).map(move |b| Pair { a, b }))
        .collect();
    Room::new(3, parts, pairs).unwrap()
}

fn scene() -> &'static Room {
    static ROOM: OnceLock<Room> = OnceLock::new();
    ROOM.get_or_init(|| room(&[0, 1], &[0, 1, 2, 3, 4]))
}

fn patient_and_head() -> &'static Room {
    static ROOM: OnceLock<Room> = OnceLock::new();
    ROOM.get_or_init(|| room(&[0], &[0]))
}

fn poses(gantry_deg: f64, couch_deg: f64) -> [Rigid; 3] {
    [
        Rigid::identity(),
        Rigid::turn(&V3::y(), gantry_deg.to_radians()),
        Rigid::turn(&V3::z(), couch_deg.to_radians()),
    ]
}

/// Gantry along the rows, couch rotation along the columns.
fn drives() -> Vec<Drive> {
    let turn = |axis, from: f64, to: f64| Chain {
        joints: vec![Joint::turn(axis, from.to_radians(), to.to_radians()).unwrap()],
    };
    vec![
        Drive::Row(Chain::default()),
        Drive::Row(turn(V3::y(), -1.0, 359.0)),
        Drive::Column(turn(V3::z(), -91.0, 89.0)),
    ]
}

/// Poses of random cells, clear ones only, as the facts were measured.
fn clear_poses() -> Vec<[Rigid; 3]> {
    let mut state = 12345u64;
    let mut random = |count: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % count) as f64
    };
    (0..2000)
        .map(|_| poses(2.0 * random(180), -90.0 + 2.0 * random(90)))
        .filter(|p| {
            patient_and_head()
                .separations(p, Precision::fast())
                .unwrap()[0]
                .lower_mm
                > 0.0
        })
        .collect()
}

#[divan::bench]
fn clearance_pair_us(bencher: Bencher) {
    let (room, all) = (patient_and_head(), clear_poses());
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % all.len();
        black_box(room.separations(&all[at], Precision::fast()).unwrap())
    });
}

#[divan::bench]
fn clearance_pair_exact_us(bencher: Bencher) {
    let (room, all) = (patient_and_head(), clear_poses());
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % all.len();
        black_box(room.separations(&all[at], Precision::exact()).unwrap())
    });
}

#[divan::bench(sample_count = 15)]
fn clearance_map_ms(bencher: Bencher) {
    let (room, drives) = (scene(), drives());
    bencher.bench_local(|| black_box(room.map(&drives, GRID, Precision::fast()).unwrap()));
}

#[divan::bench(sample_count = 9)]
fn clearance_pairs_map_ms(bencher: Bencher) {
    let (room, drives) = (scene(), drives());
    bencher.bench_local(|| black_box(room.pairs_map(&drives, GRID, Precision::fast()).unwrap()));
}

#[divan::bench(sample_count = 15)]
fn collision_map_ms(bencher: Bencher) {
    let (room, drives) = (scene(), drives());
    bencher.bench_local(|| {
        black_box(
            room.contact_map(&drives, GRID, 0.0, Precision::fast())
                .unwrap(),
        )
    });
}

#[divan::bench(sample_count = 9)]
fn continuous_map_ms(bencher: Bencher) {
    let (room, drives) = (scene(), drives());
    let grid = Grid {
        rows: 1440,
        columns: 720,
    };
    bencher.bench_local(|| {
        black_box(
            room.certified_map(&drives, grid, 0.0, Precision::fast())
                .unwrap(),
        )
    });
}

#[divan::bench(args = [0.0, 60.0])]
fn sweep_us(bencher: Bencher, couch_deg: f64) {
    let room = patient_and_head();
    let gantry = Joint::turn(V3::y(), 0.0, 90f64.to_radians()).unwrap();
    let [fixed, _, couch] = poses(0.0, couch_deg);
    let chains = [
        Chain::still(fixed),
        Chain {
            joints: vec![gantry],
        },
        Chain::still(couch),
    ];
    let options = SweepOptions {
        stations: 1,
        tolerance_mm: 1000.0,
        precision: Precision::fast(),
    };
    bencher.bench_local(|| black_box(room.sweep(&chains, &options).unwrap()));
}

#[divan::bench(sample_count = 5)]
fn build_patient_ms(bencher: Bencher) {
    bencher.bench_local(|| black_box(room(&[0], &[0])));
}
