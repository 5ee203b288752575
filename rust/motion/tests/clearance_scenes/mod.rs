//! Random scenes for the clearance tests.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses some of these"
)]

use igrt_motion::clearance::{Hull, Mesh, Rigid, Solid, V3};

/// How many rounds a test goes: what suits every run, times what TIMES says.
pub fn rounds(usual: usize) -> usize {
    let times = std::env::var("TIMES").ok().and_then(|x| x.parse().ok());
    usual * times.unwrap_or(1)
}

/// A small generator (xorshift), so that a failing round can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn vector(&mut self, size: f64) -> V3 {
        V3::new(
            self.between(-size, size),
            self.between(-size, size),
            self.between(-size, size),
        )
    }
}

pub fn random_pose(random: &mut Random, reach: f64) -> Rigid {
    let axis = loop {
        let v = random.vector(1.0);
        if v.norm() > 0.1 && v.norm() < 1.0 {
            break v.normalize();
        }
    };
    let turn = Rigid::turn(&axis, random.between(-3.1, 3.1));
    Rigid::slide(random.vector(reach)).then(&turn)
}

/// A closed tube about y with bumps: `rings` slices of `sides` corners and two caps.
pub fn bumpy_tube(random: &mut Random, rings: usize, sides: usize) -> Mesh {
    tube(random, rings, sides, V3::new(160.0, 300.0, 110.0))
}

pub fn tube(random: &mut Random, rings: usize, sides: usize, half: V3) -> Mesh {
    let mut vertices = vec![[0.0, -half.y, 0.0], [0.0, half.y, 0.0]];
    let phase = [
        random.between(0.0, 6.0),
        random.between(0.0, 6.0),
        random.between(0.0, 6.0),
    ];
    for ring in 0..rings {
        let t = (ring as f64 + 0.5) / rings as f64;
        let y = half.y * (2.0 * t - 1.0);
        for side in 0..sides {
            let angle = std::f64::consts::TAU * side as f64 / sides as f64;
            let bump = 1.0
                + 0.12 * (3.0 * angle + phase[0]).sin() * (7.0 * t + phase[1]).sin()
                + 0.05 * (5.0 * angle + 11.0 * t + phase[2]).cos();
            let taper = 0.6 + 0.4 * (std::f64::consts::PI * t).sin();
            vertices.push([
                half.x * bump * taper * angle.cos(),
                y,
                half.z * bump * taper * angle.sin(),
            ]);
        }
    }
    let at = |ring: usize, side: usize| (2 + ring * sides + side % sides) as u32;
    let mut triangles = vec![];
    for side in 0..sides {
        triangles.push([0, at(0, side), at(0, side + 1)]);
        triangles.push([1, at(rings - 1, side + 1), at(rings - 1, side)]);
        for ring in 0..rings - 1 {
            let (a, b) = (at(ring, side), at(ring, side + 1));
            let (c, d) = (at(ring + 1, side), at(ring + 1, side + 1));
            triangles.push([a, c, b]);
            triangles.push([b, c, d]);
        }
    }
    Mesh::new("tube", &vertices, &triangles).expect("the tube is closed")
}

pub fn random_solid(random: &mut Random, kind: usize) -> Solid {
    match kind {
        0 => Solid::Cuboid {
            half: V3::new(
                random.between(5.0, 200.0),
                random.between(5.0, 200.0),
                random.between(5.0, 200.0),
            ),
        },
        1 => Solid::Cylinder {
            radius: random.between(5.0, 300.0),
            half_length: random.between(5.0, 200.0),
        },
        2 => Solid::Capsule {
            radius: random.between(3.0, 100.0),
            half_length: random.between(0.0, 200.0),
        },
        _ => {
            let points: Vec<V3> = (0..14).map(|_| random.vector(180.0)).collect();
            Solid::Hull(
                Hull::of_points(&points, "hull").expect("fourteen random points are no plane"),
            )
        }
    }
}
