//! Bodies of exact shape in the beam: phantoms and implanted markers. Their chords are exact, so that a ball's shadow has no voxels.

use crate::pose::Vector;
use crate::xray::water_per_mm;

/// What a body is made of: attenuation relative to water at 80 kVp (effective 50 keV; NIST XCOM mass attenuation times density), and how much
/// steeper than water's it falls with the tube voltage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Material {
    /// Name, for people.
    pub name: &'static str,
    relative: f64,
    steeper: f64,
}

/// Nothing.
pub const AIR: Material = Material {
    name: "air",
    relative: 0.0,
    steeper: 0.0,
};
/// Soft tissue.
pub const WATER: Material = Material {
    name: "water",
    relative: 1.0,
    steeper: 0.0,
};
/// Acrylic: 0.2074 cm2/g x 1.19 g/cm3.
pub const ACRYLIC: Material = Material {
    name: "acrylic",
    relative: 1.09,
    steeper: -0.1,
};
/// Aluminium: 0.3681 cm2/g x 2.70 g/cm3.
pub const ALUMINIUM: Material = Material {
    name: "aluminium",
    relative: 4.38,
    steeper: 0.4,
};
/// Steel: 1.958 cm2/g x 7.87 g/cm3.
pub const STEEL: Material = Material {
    name: "steel",
    relative: 67.9,
    steeper: 0.6,
};
/// Gold: 7.256 cm2/g x 19.3 g/cm3.
pub const GOLD: Material = Material {
    name: "gold",
    relative: 617.0,
    steeper: 0.6,
};

impl Material {
    fn per_mm(&self, kvp: f64) -> f64 {
        water_per_mm(kvp) * self.relative * libm::pow(80.0 / kvp, self.steeper)
    }
}

/// A shape about its centre, in millimetres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// A ball.
    Ball {
        /// Radius.
        radius: f64,
    },
    /// A cylinder with flat ends along a unit vector.
    Cylinder {
        /// Direction.
        axis: Vector,
        /// Half of the length.
        half_length: f64,
        /// Radius.
        radius: f64,
    },
    /// A box along the axes.
    Block {
        /// Half of each edge.
        half: Vector,
    },
}

/// A body in DICOM patient coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Solid {
    /// Its shape.
    pub shape: Shape,
    /// Its centre.
    pub centre: Vector,
    /// What it is made of.
    pub material: Material,
    /// What it has displaced: the body it is inside of.
    pub displaces: Material,
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn minus(a: &Vector, b: &Vector) -> Vector {
    let ([ax, ay, az], [bx, by, bz]) = (*a, *b);
    [ax - bx, ay - by, az - bz]
}

/// Part of a segment `from + t step`, t in 0..1, within a ball of the origin (or, with the axial parts taken out, an endless cylinder).
fn round(from: &Vector, step: &Vector, radius: f64) -> Option<(f64, f64)> {
    let (a, b, c) = (
        dot(step, step),
        dot(from, step),
        dot(from, from) - radius * radius,
    );
    if a == 0.0 {
        return (c <= 0.0).then_some((0.0, 1.0));
    }
    let under = b * b - a * c;
    (under > 0.0).then(|| {
        let root = under.sqrt();
        ((-b - root) / a, (-b + root) / a)
    })
}

/// Part of a segment within a slab of half width `half` about the origin.
fn slab(from: f64, step: f64, half: f64) -> Option<(f64, f64)> {
    if step == 0.0 {
        return (from.abs() <= half).then_some((0.0, 1.0));
    }
    let (p, q) = ((-half - from) / step, (half - from) / step);
    Some((p.min(q), p.max(q)))
}

impl Shape {
    /// Radius of a ball about the centre that holds the shape.
    pub fn reach(&self) -> f64 {
        match self {
            Self::Ball { radius } => *radius,
            Self::Cylinder {
                half_length,
                radius,
                ..
            } => half_length.hypot(*radius),
            Self::Block { half } => dot(half, half).sqrt(),
        }
    }

    /// Millimetres of a segment inside the shape; both ends relative to its centre.
    pub fn chord(&self, from: &Vector, to: &Vector) -> f64 {
        let step = minus(to, from);
        let within = match self {
            Self::Ball { radius } => round(from, &step, *radius),
            Self::Cylinder {
                axis,
                half_length,
                radius,
            } => {
                let (along, along_step) = (dot(from, axis), dot(&step, axis));
                let across =
                    |v: &Vector, part: f64| minus(v, &axis.map(|component| component * part));
                let side = round(&across(from, along), &across(&step, along_step), *radius);
                let ends = slab(along, along_step, *half_length);
                side.zip(ends).map(|(a, b)| (a.0.max(b.0), a.1.min(b.1)))
            }
            Self::Block { half } => from.iter().zip(&step).zip(half).try_fold(
                (0.0_f64, 1.0_f64),
                |(begin, end), ((from, step), half)| {
                    slab(*from, *step, *half).map(|(p, q)| (begin.max(p), end.min(q)))
                },
            ),
        };
        within.map_or(0.0, |(begin, end)| {
            (end.min(1.0) - begin.max(0.0)).max(0.0) * dot(&step, &step).sqrt()
        })
    }
}

/// Bodies with their attenuation at a tube voltage, ready to be traced.
#[derive(Debug)]
pub struct Bodies<'a> {
    solids: &'a [Solid],
    per_mm: Vec<f64>,
}

impl<'a> Bodies<'a> {
    /// The bodies at `kvp`.
    pub fn new(solids: &'a [Solid], kvp: f64) -> Self {
        Self {
            per_mm: solids
                .iter()
                .map(|solid| solid.material.per_mm(kvp) - solid.displaces.per_mm(kvp))
                .collect(),
            solids,
        }
    }

    /// Integral of the attenuation along a segment in DICOM millimetres, beyond what the bodies have displaced.
    pub fn line_integral(&self, from: &Vector, to: &Vector) -> f64 {
        self.solids
            .iter()
            .zip(&self.per_mm)
            .map(|(solid, per_mm)| {
                let length = solid
                    .shape
                    .chord(&minus(from, &solid.centre), &minus(to, &solid.centre));
                length * per_mm
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inside(shape: &Shape, p: &Vector) -> bool {
        match shape {
            Shape::Ball { radius } => dot(p, p) <= radius * radius,
            Shape::Cylinder {
                axis,
                half_length,
                radius,
            } => {
                let along = dot(p, axis);
                along.abs() <= *half_length && dot(p, p) - along * along <= radius * radius
            }
            Shape::Block { half } => p.iter().zip(half).all(|(p, half)| p.abs() <= *half),
        }
    }

    proptest! {
        #[test]
        fn chords_equal_a_fine_sampling_of_the_same_shape(
            seed in any::<u64>(), from in prop::array::uniform3(-9.0..9.0f64), to in prop::array::uniform3(-9.0..9.0f64)
        ) {
            let mut stream = crate::random::Stream::new(seed, "shape");
            let size = |stream: &mut crate::random::Stream| 1.0 + 4.0 * stream.uniform();
            let shapes = [
                Shape::Ball { radius: size(&mut stream) },
                Shape::Cylinder { axis: stream.direction(), half_length: size(&mut stream), radius: size(&mut stream) },
                Shape::Block { half: [size(&mut stream), size(&mut stream), size(&mut stream)] },
            ];
            let n = 4000;
            let length = dot(&minus(&to, &from), &minus(&to, &from)).sqrt();
            for shape in shapes {
                let hits = (0..n).filter(|k| {
                    let u = (f64::from(*k) + 0.5) / f64::from(n);
                    inside(&shape, &[0, 1, 2].map(|a| from[a] + u * (to[a] - from[a])))
                }).count();
                let sampled = hits as f64 * length / f64::from(n);
                prop_assert!((shape.chord(&from, &to) - sampled).abs() <= 2.0 * length / f64::from(n) + 1e-9, "{shape:?}");
            }
        }
    }

    #[test]
    fn a_gold_seed_darkens_and_an_air_bubble_brightens() {
        let solids = [
            Solid {
                shape: Shape::Ball { radius: 1.0 },
                centre: [0.0; 3],
                material: GOLD,
                displaces: WATER,
            },
            Solid {
                shape: Shape::Ball { radius: 1.0 },
                centre: [0.0, 10.0, 0.0],
                material: AIR,
                displaces: ACRYLIC,
            },
        ];
        let bodies = Bodies::new(&solids, 80.0);
        let at = |y| bodies.line_integral(&[-5.0, y, 0.0], &[5.0, y, 0.0]);
        assert!((at(0.0) - 2.0 * 616.0 * 0.0227).abs() < 1e-9);
        assert!((at(10.0) + 2.0 * 1.09 * 0.0227).abs() < 1e-9);
        assert_eq!(at(5.0), 0.0);
    }
}
