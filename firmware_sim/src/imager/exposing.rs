//! Exposures and series: what each needs, how it goes on, what breaks it off, and the mode in which the panel is read.

use super::{
    ANGLE_TOLERANCE_UDEG, Core, Exposure, HALF_TURN_UDEG, Output, Phase, fault, source_angle_udeg,
};
use crate::imager::mode::{GAP_US, Mode, PERIOD_US, SERIES_US_MAX, SETTLING_US, Series};
use crate::imager::rating::{self, ANODE_CAPACITY_J};
use crate::line::Context;
use crate::refusal::Refusal;
use crate::refuse;
use crate::wire::message::reply;
use crate::wire::octets::Writer;

impl Core {
    pub(super) fn run_panel(&mut self, now_us: u64) -> Option<Exposure> {
        if let Some(frame) = self.out.shown(now_us) {
            self.latest_frame = frame;
        }
        if self.out.overdue(now_us) {
            self.latch(now_us, fault::PANEL);
        }
        match self.phase {
            Phase::Idle => None,
            Phase::Exposing { until_us } => self.run_exposure(now_us, until_us),
            Phase::Between => {
                self.run_between(now_us);
                None
            }
            Phase::ReadingOut => {
                if self.out.is_empty() {
                    self.phase = Phase::Idle;
                }
                None
            }
        }
    }

    /// What breaks radiation off, and whether it is a fault; between pulses as in them.
    fn broken_off(&self) -> Option<u32> {
        if !self.wires.door_closed {
            Some(fault::DOOR_OPENED)
        } else if !self.wires.couch_at_rest {
            Some(fault::MOTION)
        } else {
            None
        }
    }

    fn run_exposure(&mut self, now_us: u64, until_us: u64) -> Option<Exposure> {
        let dark = self.exposure.is_some_and(|exposure| exposure.kind == 1);
        if !dark && let Some(fault) = self.broken_off() {
            self.latch(now_us, fault);
            return None;
        }
        let output = if dark {
            Output::Given
        } else {
            self.output(now_us, until_us)
        };
        if output == Output::Broken {
            self.latch(now_us, fault::GENERATOR);
        } else if !dark && !self.wires.exposure_switch {
            // Letting go of the switch is no fault, but there is no frame.
            self.halt(now_us);
        } else if now_us >= until_us && output == Output::Given {
            return self.end_of_exposure(now_us);
        }
        None
    }

    /// An exposure was given as it was asked for: its frame is read out, and a series goes on.
    fn end_of_exposure(&mut self, now_us: u64) -> Option<Exposure> {
        let mut exposure = self.exposure.take()?;
        exposure.end_us = now_us;
        exposure.dose_area = libm::round(self.dose_area - self.dose_area_before) as u32;
        self.series = self.series.filter(|series| series.left > 0);
        self.phase = if self.series.is_some() {
            Phase::Between
        } else {
            if exposure.period_us > 0 {
                self.prepare_since_us = None;
            }
            Phase::ReadingOut
        };
        let read_out_us = exposure.mode.read_out_us(exposure.technique.binning);
        self.out
            .begin(&exposure, now_us + read_out_us)
            .then_some(exposure)
    }

    /// The series ends with the pulse that is under way, if one is.
    pub(super) fn end_series(&mut self) {
        let Some(series) = &mut self.series else {
            return;
        };
        series.left = 0;
        if self.phase == Phase::Between {
            self.prepare_since_us = None;
            self.end_exposing();
        }
    }

    fn run_between(&mut self, now_us: u64) {
        if let Some(fault) = self.broken_off() {
            self.latch(now_us, fault);
            return;
        }
        if !self.wires.exposure_switch {
            self.halt(now_us);
            return;
        }
        let Some(mut series) = self.series else {
            self.end_exposing();
            return;
        };
        if now_us < series.next_us {
            return;
        }
        series.left -= 1;
        series.next_us += u64::from(series.period_us);
        self.series = Some(series);
        self.begin_exposure(now_us, 0, series.period_us);
    }

    fn begin_exposure(&mut self, now_us: u64, kind: u8, period_us: u32) -> u32 {
        let technique = self.technique;
        let frame = self.next_frame;
        self.dose_area_before = self.dose_area;
        self.exposure = Some(Exposure {
            frame,
            kind,
            technique,
            begin_us: now_us,
            end_us: now_us,
            gantry_udeg: self.gantry_udeg,
            source_angle_udeg: source_angle_udeg(self.gantry_udeg),
            source_arm_um: libm::round(self.source_um) as i32,
            panel_arm_um: libm::round(self.panel_um) as i32,
            dose_area: 0,
            mode: self.mode,
            period_us,
        });
        self.next_frame += 1;
        self.phase = Phase::Exposing {
            until_us: now_us + u64::from(technique.time_us),
        };
        frame
    }

    fn interlocks(&self, what: &str, now_us: u64, energy_j: f64) -> Result<(), Refusal> {
        for (open, why) in [
            (
                !self.prepared(now_us),
                "the anode is not prepared; send PREPARE and wait for state ready",
            ),
            (!self.wires.door_closed, "the room door is open; close it"),
            (
                !self.wires.couch_at_rest,
                "the couch is not at rest with brakes on; wait for it",
            ),
            (
                !self.wires.exposure_switch,
                "the exposure switch is open; hold it",
            ),
        ] {
            if open {
                return refuse!(Interlock, "{what}: {why}");
            }
        }
        let over_j = self.heat_at(now_us) + energy_j - ANODE_CAPACITY_J;
        if over_j > 0.0 {
            return refuse!(
                Interlock,
                "{what}: {:.1} kJ on top of the anode's {:.1} kJ are {:.1} kJ more than it stores; let it cool, or ask for less",
                energy_j / 1e3,
                self.heat_at(now_us) / 1e3,
                over_j / 1e3
            );
        }
        Ok(())
    }

    /// What every exposure needs, dark ones too: arms out, everything at rest, the source where it was said to be, a settled panel that takes the technique.
    fn in_place(&self, what: &str, now_us: u64, angle_udeg: i32) -> Result<(), Refusal> {
        self.ready(what)?;
        if now_us < self.settled_us {
            return refuse!(
                WrongState,
                "{what}: the panel settles in its mode for {} ms more; wait for it",
                (self.settled_us - now_us).div_ceil(1000)
            );
        }
        rating::fits(what, self.mode, &self.technique)?;
        if !self.extended() || self.arm_targets.is_some() {
            return refuse!(
                Interlock,
                "{what}: the arms are not extended; send ARMS 1 1"
            );
        }
        if self.gantry.moving {
            return refuse!(Interlock, "{what}: the gantry is moving; wait for it");
        }
        let at = source_angle_udeg(self.gantry_udeg);
        let turn = 2 * HALF_TURN_UDEG;
        let off = (i64::from(angle_udeg) - i64::from(at) + HALF_TURN_UDEG).rem_euclid(turn)
            - HALF_TURN_UDEG;
        if off.abs() > ANGLE_TOLERANCE_UDEG {
            return refuse!(
                Interlock,
                "{what}: the source stands at {:.3} deg, not at {:.3} deg; move the gantry",
                f64::from(at) * 1e-6,
                f64::from(angle_udeg) * 1e-6
            );
        }
        Ok(())
    }

    pub(super) fn expose(
        &mut self,
        context: &Context,
        kind: u8,
        reserved: u32,
        angle_udeg: i32,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        if kind > 1 || reserved != 0 {
            return refuse!(
                Malformed,
                "EXPOSE: kind {kind} is neither 0 (X-ray) nor 1 (dark), or a reserved field is set"
            );
        }
        if kind == 0 && self.mode != Mode::Radiographic {
            return refuse!(
                WrongState,
                "EXPOSE: the panel is in fluoroscopic mode, which takes pulses; send SERIES, or PANEL_MODE 1 (radiographic) and wait for it to settle"
            );
        }
        self.in_place("EXPOSE", context.now_us, angle_udeg)?;
        if kind == 0 {
            self.interlocks("EXPOSE", context.now_us, self.technique.joules())?;
        }
        body.u32(self.begin_exposure(context.now_us, kind, 0));
        Ok(reply::EXPOSE)
    }

    pub(super) fn set_mode(
        &mut self,
        context: &Context,
        mode: u8,
        reserved: u32,
        period_us: u32,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        let wanted = match mode {
            1 => Mode::Radiographic,
            2 => Mode::Fluoroscopic,
            0 => {
                return refuse!(
                    Malformed,
                    "PANEL_MODE: 0 (off) is the panel with its arm parked; send ARMS 0 0"
                );
            }
            3 => {
                return refuse!(
                    NotSupported,
                    "PANEL_MODE: cone-beam mode is not built: this imager takes no frames while the gantry turns; scan step by step with GANTRY and EXPOSE"
                );
            }
            _ => {
                return refuse!(
                    Malformed,
                    "PANEL_MODE: {mode} is neither 1 (radiographic) nor 2 (fluoroscopic)"
                );
            }
        };
        let (low, high) = PERIOD_US;
        let fits = match wanted {
            Mode::Radiographic => period_us == 0,
            Mode::Fluoroscopic => (low..=high).contains(&period_us),
        };
        if reserved != 0 || !fits {
            return refuse!(
                OutsideLimits,
                "PANEL_MODE: a period of {period_us} us, or a reserved field, is not right: 0 in radiographic, {low} to {high} us in fluoroscopic mode"
            );
        }
        self.ready("PANEL_MODE")?;
        self.enter(context.now_us, wanted, period_us);
        let read_out_us = wanted.read_out_us(self.technique.binning);
        body.u64(self.settled_us).u32(read_out_us as u32);
        Ok(reply::PANEL_MODE)
    }

    pub(super) fn enter(&mut self, now_us: u64, mode: Mode, period_us: u32) {
        if mode != self.mode {
            self.settled_us = now_us + SETTLING_US;
        }
        (self.mode, self.period_us) = (mode, period_us);
    }

    /// Whether a pulse and its read-out fit into a period, and all of them into one series.
    fn series_fits(&self, frames: u16) -> Result<(), Refusal> {
        let technique = self.technique;
        let read_out_us = self.mode.read_out_us(technique.binning);
        let needs_us = u64::from(technique.time_us) + read_out_us + u64::from(GAP_US);
        if needs_us > u64::from(self.period_us) {
            return refuse!(
                OutsideLimits,
                "SERIES: a pulse of {} us, its read-out of {read_out_us} us and {GAP_US} us between are {} us longer than the period of {} us",
                technique.time_us,
                needs_us - u64::from(self.period_us),
                self.period_us
            );
        }
        let lasts_us = u64::from(frames) * u64::from(self.period_us);
        if lasts_us > SERIES_US_MAX {
            return refuse!(
                OutsideLimits,
                "SERIES: {frames} frames last {:.1} s, {:.1} s more than the {:.0} s of one series",
                lasts_us as f64 * 1e-6,
                (lasts_us - SERIES_US_MAX) as f64 * 1e-6,
                SERIES_US_MAX as f64 * 1e-6
            );
        }
        Ok(())
    }

    pub(super) fn run_series(
        &mut self,
        context: &Context,
        frames: u16,
        reserved: u16,
        angle_udeg: i32,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        if reserved != 0 {
            return refuse!(Malformed, "SERIES: a reserved field is set");
        }
        if frames == 0 {
            self.end_series();
            body.u32(self.next_frame);
            return Ok(reply::SERIES);
        }
        if self.mode != Mode::Fluoroscopic {
            return refuse!(
                WrongState,
                "SERIES: the panel is in radiographic mode, which takes single frames; send PANEL_MODE 2 and wait for it to settle"
            );
        }
        self.in_place("SERIES", context.now_us, angle_udeg)?;
        if !context.lease_fresh() {
            return refuse!(
                LeaseNotFresh,
                "SERIES: the lease is {} ms old; renew it every 50 ms",
                context.lease_age_ms()
            );
        }
        self.series_fits(frames)?;
        let joules = f64::from(frames) * self.technique.joules();
        self.interlocks("SERIES", context.now_us, joules)?;
        self.out.count_anew();
        self.series = Some(Series {
            left: frames - 1,
            next_us: context.now_us + u64::from(self.period_us),
            period_us: self.period_us,
        });
        body.u32(self.begin_exposure(context.now_us, 0, self.period_us));
        Ok(reply::SERIES)
    }
}
