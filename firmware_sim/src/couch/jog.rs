//! JOG: one axis, slowly, for as long as it is asked for again and again (docs/protocol.md section 6).

use super::path::{Path, Position};
use super::{Core, Motion, Purpose, SLOW};
use crate::limits::AxisLimits;
use crate::line::Context;
use crate::refusal::Refusal;
use crate::refuse;
use crate::wire::message::reply;

/// A jog ends this long after the last JOG.
const JOG_LIFE_US: u64 = 200_000;

impl Core {
    pub(super) fn jog(
        &mut self,
        context: &Context,
        axis: u8,
        reserved: u32,
        speed: i32,
    ) -> Result<u8, Refusal> {
        let index = usize::from(axis);
        let Some(limit) = self.limits.get(index).filter(|_| reserved == 0).copied() else {
            return refuse!(
                Malformed,
                "JOG: axis {axis} does not exist or a reserved field is set"
            );
        };
        if let Some(answer) = self.renewed_jog(context.now_us, index, speed) {
            return answer;
        }
        if speed == 0 {
            return Ok(reply::JOG);
        }
        slow_enough(&limit, speed)?;
        self.may_begin("JOG", context)?;
        let from = self.sensors.primary.map(f64::from);
        let target = self.jog_end(&from, index, &limit, speed)?;
        let path = Path::new(&from, &[target], &self.limits, 1.0, |k| {
            if k == index {
                f64::from(speed).abs()
            } else {
                f64::INFINITY
            }
        });
        let until_us = context.now_us + JOG_LIFE_US;
        self.void_plan();
        self.begin(
            context.now_us,
            path,
            from,
            Purpose::Jog {
                axis: index,
                speed,
                until_us,
            },
        );
        Ok(reply::JOG)
    }

    /// The answer of a jog that is under way: the same again renews it, speed 0 ends it. `None` where there is none.
    fn renewed_jog(
        &mut self,
        now_us: u64,
        index: usize,
        speed: i32,
    ) -> Option<Result<u8, Refusal>> {
        let Some(Motion {
            purpose:
                Purpose::Jog {
                    axis,
                    speed: at,
                    until_us,
                },
            stopping: false,
            ..
        }) = &mut self.motion
        else {
            return None;
        };
        if speed == 0 {
            *until_us = now_us;
        } else if *axis == index && *at == speed {
            *until_us = now_us + JOG_LIFE_US;
        } else {
            return Some(refuse!(
                WrongState,
                "JOG: another jog is under way; end it with speed 0 before changing axis or speed"
            ));
        }
        Some(Ok(reply::JOG))
    }

    /// As far as the soft limit of the axis goes, or the platform and its legs.
    fn jog_end(
        &self,
        from: &Position,
        index: usize,
        limit: &AxisLimits,
        speed: i32,
    ) -> Result<Position, Refusal> {
        let end = f64::from(if speed > 0 { limit.max } else { limit.min });
        let mut target = *from;
        let Some(value) = target
            .get_mut(index)
            .filter(|value| (end - **value) * f64::from(speed) > 0.0)
        else {
            return refuse!(
                OutsideLimits,
                "JOG: {} is at its limit in that direction",
                limit.name
            );
        };
        *value = end;
        if self.family.has_legs() {
            self.shorten_for_legs(from, &mut target);
            if target == *from {
                return refuse!(
                    OutsideLimits,
                    "JOG: {} goes no further in that direction: the platform or a leg is at its limit",
                    limit.name
                );
            }
        }
        Ok(target)
    }

    /// Brings a target as near as the legs demand: a jog ends there and not in a fault.
    fn shorten_for_legs(&self, from: &Position, target: &mut Position) {
        /// Looked at every 0.1 mm or 0.01 deg, and ended 0.5 mm or 0.05 deg short.
        const STEP: (f64, f64) = (100.0, 10e3);
        let base = self.base();
        let longest = from
            .iter()
            .zip(target.iter())
            .zip(&self.limits)
            .map(|((from, to), axis)| (to - from).abs() / axis.kind.pick(STEP.0, STEP.1))
            .fold(0.0, f64::max);
        let steps = libm::ceil(longest);
        let at = |k: f64| {
            let mut at = *from;
            for (at, to) in at.iter_mut().zip(target.iter()) {
                *at += (to - *at) * (k / steps).min(1.0);
            }
            at
        };
        let mut k = 0.0;
        let free = |at: &Position| {
            self.family.leg_outside(&base, at).is_none()
                && self.family.travel_outside(&base, at).is_none()
        };
        while k < steps && free(&at(k + 6.0)) {
            k += 1.0;
        }
        *target = at(k);
    }
}

fn slow_enough(limit: &AxisLimits, speed: i32) -> Result<(), Refusal> {
    let cap = limit
        .kind
        .pick(SLOW.0, SLOW.1)
        .min(f64::from(limit.speed_max));
    if f64::from(speed).abs() > cap {
        let (scale, unit) = (limit.kind.scale(), limit.kind.unit());
        return refuse!(
            OutsideLimits,
            "JOG: {:.3} {unit}/s is above {:.3} {unit}/s",
            f64::from(speed).abs() / scale,
            cap / scale
        );
    }
    Ok(())
}
