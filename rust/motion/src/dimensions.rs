//! The dimensions of a couch's chain by name: what a calibration may correct.

use crate::arm::Arm;
use crate::couch::{Couch, Family};
use crate::error::{MotionError, geometry};
use crate::hexapod::Hexapod;
use crate::pedestal::Pedestal;
use crate::scara::Scara;

impl Couch {
    /// Names and values of the chain's dimensions, mm and radians: eccentric top of a pedestal, offsets and lengths of an
    /// arm, links of a SCARA arm, joint centres of a hexapod (base then platform, by leg). Names end in their unit as
    /// people see it (`_mm`, `_deg`).
    #[must_use]
    pub fn dimensions(&self) -> Vec<(String, f64)> {
        let named = |names: &[&str], values: &[f64]| {
            let names = names.iter().map(|name| (*name).to_string());
            names.zip(values.iter().copied()).collect()
        };
        match self.family() {
            Family::Pedestal(chain) => {
                let (mm, angle) = chain.eccentric();
                named(&["eccentric_mm", "eccentric_deg"], &[mm, angle])
            }
            Family::Arm(arm) => {
                let names = ["a1_mm", "a2_mm", "b_mm", "c1_mm", "c2_mm", "c3_mm", "c4_mm"];
                let ([a1, a2, b], [c1, c2, c3, c4]) = (arm.offsets_mm(), arm.lengths_mm());
                named(&names, &[a1, a2, b, c1, c2, c3, c4])
            }
            Family::Scara(scara) => {
                let names = [
                    "upper_mm",
                    "fore_mm",
                    "wrist_x_mm",
                    "wrist_y_mm",
                    "wrist_z_mm",
                ];
                let ([upper, fore], [x, y, z]) = (scara.links_mm(), scara.wrist_mm());
                named(&names, &[upper, fore, x, y, z])
            }
            Family::Hexapod(hexapod) => {
                let (base, platform) = hexapod.joints_mm();
                let mut all = Vec::with_capacity(36);
                for (side, joints) in [("base", base), ("platform", platform)] {
                    for (leg, joint) in joints.iter().enumerate() {
                        for (axis, value) in ["x", "y", "z"].iter().zip(joint) {
                            all.push((format!("{side}_{}_{axis}_mm", leg + 1), *value));
                        }
                    }
                }
                all
            }
        }
    }

    /// The same couch with other dimensions, in the order of [`Couch::dimensions`]; mm and radians.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for another count, or dimensions that make no couch of this family.
    pub fn with_dimensions(mut self, values: &[f64]) -> Result<Self, MotionError> {
        let family = match (self.family(), values) {
            (Family::Pedestal(_), [mm, angle]) => Family::Pedestal(Pedestal::new(*mm, *angle)?),
            (Family::Arm(_), [a1, a2, b, c1, c2, c3, c4]) => {
                Family::Arm(Arm::new([*a1, *a2, *b], [*c1, *c2, *c3, *c4])?)
            }
            (Family::Scara(_), [upper, fore, x, y, z]) => {
                Family::Scara(Scara::new(*upper, *fore, [*x, *y, *z])?)
            }
            (Family::Hexapod(old), values) if values.len() == 36 => {
                let mut joints = [[0.0; 3]; 12];
                joints.as_flattened_mut().copy_from_slice(values);
                let [base, platform] = *joints.as_chunks::<6>().0 else {
                    return geometry("a hexapod has twelve joints");
                };
                Family::Hexapod(Hexapod::new(
                    base,
                    platform,
                    old.leg_limits_mm(),
                    old.chain(),
                    old.base_axes(),
                )?)
            }
            _ => {
                return geometry(format!(
                    "a couch of family {} has {} dimensions, got {}",
                    self.family_name(),
                    self.dimensions().len(),
                    values.len()
                ));
            }
        };
        self.set_family(family);
        Ok(self)
    }
}
