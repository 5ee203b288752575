//! What the generator and its tube can give: ranges of kVp, mA and ms, the power of the tube by the length of the exposure, the heat of one exposure.
//!
//! Powers and ranges are those of the class (a 50 kW high-frequency generator with a rotating anode of 300 kJ); the steps of the power with time are an
//! assumption of their order, as rating charts of such tubes have them. Everything is compared in the integers of the line, so that no bound is a matter of rounding.

use crate::imager::mode::Mode;
use crate::refusal::Refusal;
use crate::refuse;
use crate::wire::message::Technique;

/// Tube voltage, tenths of a kilovolt.
pub const KVP_TENTH: (u16, u16) = (400, 1500);
/// Tube current, tenths of a milliampere.
pub const MA_TENTH: (u16, u16) = (10, 5000);
/// Time of an exposure, microseconds.
pub const TIME_US: (u32, u32) = (500, 6_300_000);
/// Least that the meter judges, micro-ampere-seconds.
pub const MAS_U_MIN: u32 = 10;
/// Power of the tube in watts, by the longest time in microseconds for which it may be given.
pub const POWER_W: [(u32, u32); 3] = [(100_000, 50_000), (1_000_000, 32_000), (6_300_000, 20_000)];
/// Heat that the anode stores, joules.
pub const ANODE_CAPACITY_J: f64 = 300e3;

/// Power in watts that the tube bears for a time.
fn power_w(time_us: u32) -> u32 {
    POWER_W
        .iter()
        .find(|(longest_us, _)| time_us <= *longest_us)
        .map_or(0, |(_, power_w)| *power_w)
}

/// Refuses what is outside, naming what and by how much.
pub fn check(technique: &Technique) -> Result<(), Refusal> {
    let (kvp, ma, ms) = (
        f64::from(technique.kvp_tenth) / 10.0,
        f64::from(technique.ma_tenth) / 10.0,
        f64::from(technique.time_us) / 1e3,
    );
    let (low, high) = KVP_TENTH;
    within("kVp", kvp, f64::from(low) / 10.0, f64::from(high) / 10.0)?;
    let (low, high) = MA_TENTH;
    within("mA", ma, f64::from(low) / 10.0, f64::from(high) / 10.0)?;
    let (low, high) = TIME_US;
    within("ms", ms, f64::from(low) / 1e3, f64::from(high) / 1e3)?;
    let allowed_w = power_w(technique.time_us);
    let watts = u64::from(technique.kvp_tenth) * u64::from(technique.ma_tenth);
    if watts > u64::from(allowed_w) * 100 {
        let most = f64::from(allowed_w) / kvp;
        return refuse!(
            OutsideLimits,
            "TECHNIQUE: {ma:.1} mA at {kvp:.1} kVp for {ms:.1} ms are {:.2} kW; the tube bears {:.0} kW for that time: {:.1} mA too much ({most:.1} mA at most)",
            watts as f64 / 1e5,
            f64::from(allowed_w) / 1e3,
            ma - most
        );
    }
    if technique.mas_u() < MAS_U_MIN {
        return refuse!(
            OutsideLimits,
            "TECHNIQUE: {:.4} mAs is below the 0.01 mAs that the meter judges, by {:.4} mAs",
            technique.uas() * 1e-3,
            0.01 - technique.uas() * 1e-3
        );
    }
    let joules = technique.joules();
    if joules > ANODE_CAPACITY_J {
        return refuse!(
            OutsideLimits,
            "TECHNIQUE: {kvp:.1} kVp, {ma:.1} mA, {ms:.1} ms give the anode {:.1} kJ, {:.1} kJ more than it stores",
            joules / 1e3,
            (joules - ANODE_CAPACITY_J) / 1e3
        );
    }
    Ok(())
}

fn within(unit: &str, value: f64, low: f64, high: f64) -> Result<(), Refusal> {
    let (over, side) = if value < low {
        (low - value, "below")
    } else if value > high {
        (value - high, "above")
    } else {
        return Ok(());
    };
    refuse!(
        OutsideLimits,
        "TECHNIQUE: {value:.3} {unit} is {over:.3} {side} the range of {low} to {high} {unit}"
    )
}

/// Refuses a technique that the panel's mode cannot take.
pub fn fits(what: &str, mode: Mode, technique: &Technique) -> Result<(), Refusal> {
    if mode == Mode::Radiographic {
        return Ok(());
    }
    if !matches!(technique.binning, 2 | 4) {
        return refuse!(
            WrongState,
            "{what}: binning {} is not one of fluoroscopic mode, which reads 2 x 2 or 4 x 4; set TECHNIQUE, or PANEL_MODE 1",
            technique.binning
        );
    }
    let (ma_most, us_most) = (FLUORO_MA_TENTH_MAX, FLUORO_PULSE_US_MAX);
    if technique.ma_tenth > ma_most {
        return refuse!(
            WrongState,
            "{what}: {:.1} mA is {:.1} mA above the {:.1} mA of a pulse in fluoroscopic mode; set TECHNIQUE, or PANEL_MODE 1",
            f64::from(technique.ma_tenth) / 10.0,
            f64::from(technique.ma_tenth - ma_most) / 10.0,
            f64::from(ma_most) / 10.0
        );
    }
    if technique.time_us > us_most {
        return refuse!(
            WrongState,
            "{what}: {:.1} ms is {:.1} ms above the {:.1} ms of a pulse in fluoroscopic mode; set TECHNIQUE, or PANEL_MODE 1",
            f64::from(technique.time_us) / 1e3,
            f64::from(technique.time_us - us_most) / 1e3,
            f64::from(us_most) / 1e3
        );
    }
    Ok(())
}

/// Tube current of a pulse at most, tenths of a milliampere.
pub const FLUORO_MA_TENTH_MAX: u16 = 800;
/// Length of a pulse at most.
pub const FLUORO_PULSE_US_MAX: u32 = 25_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn technique(kvp_tenth: u16, ma_tenth: u16, time_us: u32) -> Technique {
        Technique {
            kvp_tenth,
            filter: 0,
            binning: 2,
            ma_tenth,
            time_us,
            field_um: [-1, 1, -1, 1],
        }
    }

    #[test]
    fn what_is_outside_is_named_with_its_excess() {
        for (asked, words) in [
            (technique(399, 1000, 20_000), "39.900 kVp is 0.100 below"),
            (technique(1501, 1000, 20_000), "150.100 kVp is 0.100 above"),
            (technique(800, 9, 20_000), "0.900 mA is 0.100 below"),
            (technique(800, 5001, 20_000), "500.100 mA is 0.100 above"),
            (technique(800, 1000, 499), "0.499 ms is 0.001 below"),
            (
                technique(800, 1000, 6_300_001),
                "6300.001 ms is 0.001 above",
            ),
            (
                technique(1250, 4001, 100_000),
                "0.1 mA too much (400.0 mA at most)",
            ),
            (
                technique(1000, 3201, 100_001),
                "0.1 mA too much (320.0 mA at most)",
            ),
            (
                technique(1000, 2001, 1_000_001),
                "0.1 mA too much (200.0 mA at most)",
            ),
            (technique(800, 10, 500), "0.0005 mAs is below"),
        ] {
            let refused = check(&asked).unwrap_err();
            assert!(refused.text.contains(words), "{}", refused.text);
        }
    }

    #[test]
    fn bounds_themselves_are_taken() {
        for asked in [
            technique(400, 5000, 100_000),
            technique(1250, 4000, 100_000),
            technique(1000, 3200, 1_000_000),
            technique(1000, 2000, 6_300_000),
            technique(1500, 10, 6_300_000),
        ] {
            assert_eq!(check(&asked), Ok(()));
        }
    }

    #[test]
    fn a_pulse_of_fluoroscopy_is_short_weak_and_binned() {
        let pulse = technique(800, 800, 25_000);
        assert_eq!(fits("SERIES", Mode::Fluoroscopic, &pulse), Ok(()));
        for (asked, words) in [
            (
                Technique {
                    binning: 1,
                    ..pulse
                },
                "binning 1",
            ),
            (technique(800, 801, 25_000), "0.1 mA above"),
            (technique(800, 800, 25_100), "0.1 ms above"),
        ] {
            let refused = fits("SERIES", Mode::Fluoroscopic, &asked).unwrap_err();
            assert!(refused.text.contains(words), "{}", refused.text);
            assert_eq!(fits("EXPOSE", Mode::Radiographic, &asked), Ok(()));
        }
    }
}
