//! Which physics the X-ray model has, each by its name and with a strength, so that a test can switch one off and look at what remains.

/// One effect: name, strength as built, largest strength, what the number means.
pub type Effect = (&'static str, f64, f64, &'static str);

/// All effects in the order of [`Physics`].
pub const EFFECTS: [Effect; 11] = [
    (
        "noise",
        1.0,
        4.0,
        "sigma of the quantum and the electronic noise, times that of the dose",
    ),
    (
        "hardening",
        1.0,
        1.0,
        "share of the beam hardening: 0 is a beam of one energy",
    ),
    (
        "scatter",
        1.0,
        4.0,
        "scatter of the patient, times 0.5 of what he takes out of the beam",
    ),
    (
        "glare",
        0.0,
        1.0,
        "share of all light, the open field's included, that spreads over the panel (sigma 60 mm)",
    ),
    (
        "blur",
        1.0,
        4.0,
        "focal spot and scintillator, times 0.35 mm on the panel",
    ),
    ("heel", 1.0, 4.0, "heel of the anode, times 4 % over 150 mm"),
    (
        "defects",
        1.0,
        1.0,
        "0 for a panel without dead pixels, gains and offset columns",
    ),
    (
        "lag",
        1.0,
        10.0,
        "charge and sensitivity left by earlier frames, times 0.41 % in the first frame after",
    ),
    (
        "grid",
        0.0,
        1.0,
        "anti-scatter grid 10:1, 40 lines/cm: 1 in the beam, 0 out of it",
    ),
    (
        "flex",
        0.2,
        10.0,
        "bend of the arms, times 0.45 mm of the panel; 0.2 is what a compensated machine keeps",
    ),
    (
        "immobilisation",
        1.0,
        4.0,
        "index bar and side rails of the top, times their attenuation",
    ),
];

/// Strength of every effect. A seed and this give an image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "fields are the names of EFFECTS")]
pub struct Physics {
    pub noise: f64,
    pub hardening: f64,
    pub scatter: f64,
    pub glare: f64,
    pub blur: f64,
    pub heel: f64,
    pub defects: f64,
    pub lag: f64,
    pub grid: f64,
    pub flex: f64,
    pub immobilisation: f64,
}

impl Default for Physics {
    fn default() -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k] = EFFECTS.map(|(_, built, _, _)| built);
        Self {
            noise: a,
            hardening: b,
            scatter: c,
            glare: d,
            blur: e,
            heel: f,
            defects: g,
            lag: h,
            grid: i,
            flex: j,
            immobilisation: k,
        }
    }
}

impl Physics {
    /// Everything that changes a pixel away from the line integral switched off.
    pub const IDEAL: Self = Self {
        noise: 0.0,
        hardening: 0.0,
        scatter: 0.0,
        glare: 0.0,
        blur: 0.0,
        heel: 0.0,
        defects: 0.0,
        lag: 0.0,
        grid: 0.0,
        flex: 0.0,
        immobilisation: 0.0,
    };

    fn slots(&mut self) -> [&mut f64; 11] {
        [
            &mut self.noise,
            &mut self.hardening,
            &mut self.scatter,
            &mut self.glare,
            &mut self.blur,
            &mut self.heel,
            &mut self.defects,
            &mut self.lag,
            &mut self.grid,
            &mut self.flex,
            &mut self.immobilisation,
        ]
    }

    /// Sets one effect by its name; a sentence if there is no such effect or the number is out of its range.
    pub fn set(&mut self, name: &str, strength: f64) -> Result<(), String> {
        for ((known, _, most, _), slot) in EFFECTS.iter().zip(self.slots()) {
            if *known == name {
                if !(0.0..=*most).contains(&strength) {
                    return Err(format!(
                        "physics {name} = {strength} is not within 0 to {most}"
                    ));
                }
                *slot = strength;
                return Ok(());
            }
        }
        let names: Vec<&str> = EFFECTS.iter().map(|(known, ..)| *known).collect();
        Err(format!(
            "physics has no {name:?}; it has {}",
            names.join(", ")
        ))
    }

    /// Every effect with its strength.
    pub fn named(mut self) -> Vec<(&'static str, f64)> {
        EFFECTS
            .iter()
            .zip(self.slots())
            .map(|((name, ..), slot)| (*name, *slot))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_is_set_by_its_own_name_and_nothing_else_is_taken() {
        for (name, _, most, _) in EFFECTS {
            let mut physics = Physics::IDEAL;
            physics.set(name, most).unwrap();
            let set: Vec<_> = physics
                .named()
                .into_iter()
                .filter(|(_, strength)| *strength != 0.0)
                .collect();
            assert_eq!(set, [(name, most)]);
            assert!(
                physics
                    .set(name, most + 0.1)
                    .unwrap_err()
                    .contains("not within")
            );
            assert!(physics.set(name, f64::NAN).is_err());
        }
        assert!(
            Physics::IDEAL
                .clone()
                .set("halo", 1.0)
                .unwrap_err()
                .contains("flex")
        );
    }
}
