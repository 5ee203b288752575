//! Convex solids in single precision, sixteen points at a time: the bounds that steer the search.

use super::lanes::Lanes;
use super::solid::Solid;

/// Closer than this to the solid, or inside it, the lanes give no slope worth using, mm.
pub(crate) const TOO_CLOSE: f32 = 1e-6;

/// Value and slope at sixteen points. The value is the signed distance, or for a hull a lower bound of it; below
/// `TOO_CLOSE` only its size may be used, not the slope.
#[derive(Clone, Copy)]
pub(crate) struct Field<L> {
    pub value: L,
    pub slope: [L; 3],
}

/// A convex function below or equal to the signed distance of a solid.
pub(crate) trait Kernel {
    /// Whether the value outside is the distance itself, so that a corner's value bounds the answer from above too.
    const EXACT: bool;
    fn field<L: Lanes>(&self, at: [L; 3]) -> Field<L>;
}

#[derive(Clone, Debug)]
pub(crate) struct CuboidKernel {
    pub half: [f32; 3],
}

#[derive(Clone, Debug)]
pub(crate) struct CylinderKernel {
    radius: f32,
    half_length: f32,
}

#[derive(Clone, Debug)]
pub(crate) struct CapsuleKernel {
    radius: f32,
    half_length: f32,
}

/// The largest height over any face plane: below the distance near edges and corners.
#[derive(Clone, Debug)]
pub(crate) struct HullKernel {
    planes: Vec<[f32; 4]>,
}

/// One of the four.
#[derive(Clone, Debug)]
pub(crate) enum AnyKernel {
    Cuboid(CuboidKernel),
    Cylinder(CylinderKernel),
    Capsule(CapsuleKernel),
    Hull(HullKernel),
}

impl AnyKernel {
    pub(crate) fn of(solid: &Solid) -> Self {
        match solid {
            Solid::Cuboid { half } => Self::Cuboid(CuboidKernel {
                half: [half.x as f32, half.y as f32, half.z as f32],
            }),
            Solid::Cylinder {
                radius,
                half_length,
            } => Self::Cylinder(CylinderKernel {
                radius: *radius as f32,
                half_length: *half_length as f32,
            }),
            Solid::Capsule {
                radius,
                half_length,
            } => Self::Capsule(CapsuleKernel {
                radius: *radius as f32,
                half_length: *half_length as f32,
            }),
            Solid::Hull(hull) => {
                let planes = hull.planes().iter().map(|plane| {
                    let n = plane.normal;
                    [n.x as f32, n.y as f32, n.z as f32, -plane.offset as f32]
                });
                Self::Hull(HullKernel {
                    planes: planes.collect(),
                })
            }
        }
    }
}

impl Kernel for CuboidKernel {
    const EXACT: bool = true;

    #[inline(always)]
    fn field<L: Lanes>(&self, [x, y, z]: [L; 3]) -> Field<L> {
        let zero = L::splat(0.0);
        let [a, b, c] = self.half;
        let (qx, qy, qz) = (
            x.abs().sub(L::splat(a)),
            y.abs().sub(L::splat(b)),
            z.abs().sub(L::splat(c)),
        );
        let (mx, my, mz) = (qx.max(zero), qy.max(zero), qz.max(zero));
        let n = mx.mul_add(mx, my.mul_add(my, mz.mul(mz))).sqrt();
        let close = L::splat(TOO_CLOSE);
        let value = n.if_lt(close, qx.max(qy).max(qz), n);
        let inverse = L::splat(1.0).div(n.max(close));
        let slope = [
            mx.mul(inverse).copysign(x),
            my.mul(inverse).copysign(y),
            mz.mul(inverse).copysign(z),
        ];
        Field { value, slope }
    }
}

impl Kernel for CylinderKernel {
    const EXACT: bool = true;

    #[inline(always)]
    fn field<L: Lanes>(&self, [x, y, z]: [L; 3]) -> Field<L> {
        let (zero, close) = (L::splat(0.0), L::splat(TOO_CLOSE));
        let rho = x.mul_add(x, y.mul(y)).sqrt();
        let across = rho.sub(L::splat(self.radius));
        let along = z.abs().sub(L::splat(self.half_length));
        let (a, b) = (across.max(zero), along.max(zero));
        let n = a.mul_add(a, b.mul(b)).sqrt();
        let value = n.if_lt(close, across.max(along), n);
        let inverse = L::splat(1.0).div(n.max(close));
        let radial = a.mul(inverse).div(rho.max(close));
        Field {
            value,
            slope: [x.mul(radial), y.mul(radial), b.mul(inverse).copysign(z)],
        }
    }
}

impl Kernel for CapsuleKernel {
    const EXACT: bool = true;

    #[inline(always)]
    fn field<L: Lanes>(&self, [x, y, z]: [L; 3]) -> Field<L> {
        let zero = L::splat(0.0);
        let past_end = z
            .abs()
            .sub(L::splat(self.half_length))
            .max(zero)
            .copysign(z);
        let n = x.mul_add(x, y.mul_add(y, past_end.mul(past_end))).sqrt();
        let inverse = L::splat(1.0).div(n.max(L::splat(TOO_CLOSE)));
        let slope = [x.mul(inverse), y.mul(inverse), past_end.mul(inverse)];
        Field {
            value: n.sub(L::splat(self.radius)),
            slope,
        }
    }
}

impl Kernel for HullKernel {
    const EXACT: bool = false;

    #[inline(always)]
    fn field<L: Lanes>(&self, [x, y, z]: [L; 3]) -> Field<L> {
        let zero = L::splat(0.0);
        let mut field = Field {
            value: L::splat(f32::MIN),
            slope: [zero; 3],
        };
        for &[a, b, c, d] in &self.planes {
            let (a, b, c) = (L::splat(a), L::splat(b), L::splat(c));
            let height = a.mul_add(x, b.mul_add(y, c.mul_add(z, L::splat(d))));
            let [sx, sy, sz] = field.slope;
            field.slope = [
                field.value.if_lt(height, a, sx),
                field.value.if_lt(height, b, sy),
                field.value.if_lt(height, c, sz),
            ];
            field.value = field.value.max(height);
        }
        field
    }
}
