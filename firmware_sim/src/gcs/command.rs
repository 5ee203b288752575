//! Lines in words, commands by their mnemonics, answers of one or many lines.
//!
//! An answer of many lines has a space before the LF of every line but the last: this is how a host knows where it ends.

use super::error::Error;
use super::frame::{AXIS_NAMES, Kind, PIVOT_NAMES, ROOT};
use super::syntax::{number, switch};
use super::{AXIS_VELOCITY, Core, TRAVEL, VELOCITY_MM_S};
use crate::limits::AXES;
use crate::pose::Six;
use core::fmt::Write;

/// An answer, its LFs included.
pub type Answer = heapless::String<4096>;

/// Words of one line at most: a mnemonic, a name and six pairs, with some to spare.
const WORDS_MAX: usize = 24;

type Words<'a> = heapless::Vec<&'a str, WORDS_MAX>;

/// What `HLP?` lists: every command there is, so that everything else is code 2.
const HELP: &[(&str, &str)] = &[
    ("#5", "request motion status"),
    ("#7", "request controller ready status"),
    ("#24", "stop all axes"),
    ("*IDN?", "get device identification"),
    ("CST?", "[{axis}] get stage type"),
    ("CSV?", "get syntax version"),
    ("ERR?", "get error number"),
    ("FRF", "[{axis}] reference move"),
    ("FRF?", "[{axis}] get reference state"),
    ("HLP?", "list commands"),
    ("HLT", "[{axis}] halt smoothly"),
    ("IFC?", "[{parameter}] get interface parameters"),
    ("KEN", "<name> enable coordinate system"),
    ("KEN?", "get enabled coordinate systems"),
    ("KLN", "<child> <parent> link coordinate systems"),
    ("KLN?", "get links of coordinate systems"),
    ("KLS?", "list coordinate systems"),
    ("KRM", "<name> delete coordinate system"),
    ("KSD", "<name> {axis value} define coordinate system"),
    (
        "KSF",
        "<name> define coordinate system at the current position",
    ),
    ("KST", "<name> {axis value} define tool coordinate system"),
    ("KSW", "<name> {axis value} define work coordinate system"),
    ("MOV", "{axis position} set target position"),
    ("MOV?", "[{axis}] get target position"),
    (
        "MVR",
        "{axis distance} set target relative to current target",
    ),
    ("NLM", "{axis value} set low soft limit"),
    ("NLM?", "[{axis}] get low soft limit"),
    ("ONT?", "[{axis}] get on-target state"),
    ("PLM", "{axis value} set high soft limit"),
    ("PLM?", "[{axis}] get high soft limit"),
    ("POS?", "[{axis}] get real position"),
    ("PUN?", "[{axis}] get position unit"),
    ("SAI?", "[ALL] get axis identifiers"),
    ("SPI", "{coordinate value} set pivot point"),
    ("SPI?", "[{coordinate}] get pivot point"),
    ("SSL", "{axis 0|1} switch soft limits"),
    ("SSL?", "[{axis}] get soft limit state"),
    ("SSN?", "get serial number"),
    ("STP", "stop all axes"),
    ("SVO", "{axis 0|1} switch servo"),
    ("SVO?", "[{axis}] get servo state"),
    ("TMN?", "[{axis}] get lowest position"),
    ("TMX?", "[{axis}] get highest position"),
    ("VEL", "{axis velocity} set velocity of an axis"),
    ("VEL?", "[{axis}] get velocity of an axis"),
    ("VER?", "get versions"),
    ("VLS", "<velocity> set velocity of the platform"),
    ("VLS?", "get velocity of the platform"),
    (
        "VMO?",
        "{axis position} ask whether the platform can be there",
    ),
    ("VST?", "list stages"),
];

fn index_of(names: &[&str], word: &str) -> Result<usize, Error> {
    names
        .iter()
        .position(|name| *name == word)
        .ok_or(Error::InvalidAxis)
}

/// Pairs of a name and a word, no name twice, at least one.
fn pairs<'a>(
    names: &[&str],
    words: &[&'a str],
) -> Result<heapless::Vec<(usize, &'a str), AXES>, Error> {
    let mut found = heapless::Vec::new();
    let (chunks, rest) = words.as_chunks::<2>();
    if chunks.is_empty() || !rest.is_empty() {
        return Err(Error::ParameterCount);
    }
    for [name, word] in chunks {
        let index = index_of(names, name)?;
        if found.iter().any(|(known, _)| *known == index) {
            return Err(Error::DoubleAxis);
        }
        found
            .push((index, *word))
            .map_err(|_| Error::ParameterCount)?;
    }
    Ok(found)
}

/// Overwrites the named numbers of `into`.
fn numbers<const N: usize>(
    names: &[&str; N],
    words: &[&str],
    into: &[f64; N],
) -> Result<[f64; N], Error> {
    let mut out = *into;
    for (index, word) in pairs(names, words)? {
        if let Some(value) = out.get_mut(index) {
            *value = number(word)?;
        }
    }
    Ok(out)
}

/// Collects lines; each but the last ends with a space and LF.
#[derive(Default)]
struct Lines {
    text: Answer,
}

impl Lines {
    fn add(&mut self, line: core::fmt::Arguments<'_>) {
        if !self.text.is_empty() {
            let _ = self.text.push_str(" \n");
        }
        // An answer that does not fit is cut; none of ours comes near 4096 octets.
        let _ = self.text.write_fmt(line);
    }

    fn done(mut self) -> Answer {
        let _ = self.text.push('\n');
        self.text
    }
}

/// One line.
fn said(line: core::fmt::Arguments<'_>) -> Answer {
    let mut lines = Lines::default();
    lines.add(line);
    lines.done()
}

/// `name=value` of the named items, or of all.
fn each<const N: usize>(
    names: &[&str; N],
    words: &[&str],
    mut say: impl FnMut(usize, &mut heapless::String<64>),
) -> Result<Answer, Error> {
    let mut lines = Lines::default();
    let mut add = |index: usize| {
        let mut value = heapless::String::new();
        say(index, &mut value);
        lines.add(format_args!(
            "{}={value}",
            names.get(index).copied().unwrap_or("?")
        ));
    };
    if words.is_empty() {
        (0..N).for_each(&mut add);
    } else {
        if words.len() > N {
            return Err(Error::ParameterCount);
        }
        let mut asked = heapless::Vec::<usize, N>::new();
        for word in words {
            let _ = asked.push(index_of(names, word)?);
        }
        asked.into_iter().for_each(add);
    }
    Ok(lines.done())
}

fn each_number<const N: usize>(
    names: &[&str; N],
    words: &[&str],
    values: &[f64; N],
) -> Result<Answer, Error> {
    each(names, words, |index, out| {
        let _ = write!(out, "{:.7}", values.get(index).copied().unwrap_or(0.0));
    })
}

fn each_switch(words: &[&str], values: &[bool; AXES]) -> Result<Answer, Error> {
    each(&AXIS_NAMES, words, |index, out| {
        let _ = write!(
            out,
            "{}",
            u8::from(values.get(index).copied().unwrap_or(false))
        );
    })
}

fn one<'a>(words: &[&'a str]) -> Result<&'a str, Error> {
    match words {
        [word] => Ok(word),
        _ => Err(Error::ParameterCount),
    }
}

fn none(words: &[&str]) -> Result<(), Error> {
    if words.is_empty() {
        Ok(())
    } else {
        Err(Error::ParameterCount)
    }
}

fn nothing() -> Answer {
    Answer::new()
}

impl Core {
    /// Obeys one line; the answer is empty where the command has none.
    pub(super) fn obey(&mut self, line: &str, now_us: u64) -> Result<Answer, Error> {
        let mut words = Words::new();
        for word in line.split_ascii_whitespace() {
            words.push(word).map_err(|_| Error::ParameterCount)?;
        }
        let Some((mnemonic, rest)) = words.split_first() else {
            return Ok(nothing());
        };
        if mnemonic.ends_with('?') {
            self.answer(mnemonic, rest, now_us)
        } else if mnemonic.starts_with('K') {
            self.change_system(mnemonic, rest).map(|()| nothing())
        } else {
            self.command(mnemonic, rest, now_us).map(|()| nothing())
        }
    }

    fn answer(&mut self, mnemonic: &str, rest: &[&str], now_us: u64) -> Result<Answer, Error> {
        match mnemonic {
            "ERR?" => {
                none(rest)?;
                Ok(said(format_args!("{}", self.take_error().code())))
            }
            "POS?" => each_number(&AXIS_NAMES, rest, &self.shown(&self.measured())),
            "MOV?" => each_number(&AXIS_NAMES, rest, &self.shown(&self.target)),
            "ONT?" => each_switch(rest, &[self.on_target(now_us); AXES]),
            "SVO?" => each_switch(rest, &[self.servo_is_on(); AXES]),
            "FRF?" => each_switch(rest, &[self.referenced; AXES]),
            "VEL?" => each_number(&AXIS_NAMES, rest, &self.axis_velocity),
            "VLS?" => {
                none(rest)?;
                Ok(said(format_args!("{:.7}", self.velocity_mm_s)))
            }
            "TMN?" => each_number(&AXIS_NAMES, rest, &TRAVEL.map(|range| -range)),
            "TMX?" => each_number(&AXIS_NAMES, rest, &TRAVEL),
            "NLM?" => each_number(&AXIS_NAMES, rest, &self.soft_limits.map(|(low, _)| low)),
            "PLM?" => each_number(&AXIS_NAMES, rest, &self.soft_limits.map(|(_, high)| high)),
            "SSL?" => each_switch(rest, &self.soft_limits_on),
            "SPI?" => each_number(&PIVOT_NAMES, rest, &self.systems.pivot()),
            "VMO?" => {
                let asked = numbers(&AXIS_NAMES, rest, &self.shown(&self.target))?;
                let possible = self.referenced && self.reachable(&asked).is_ok();
                Ok(said(format_args!("{}", u8::from(possible))))
            }
            _ => self.describe(mnemonic, rest),
        }
    }

    /// Answers that never change, and those about coordinate systems.
    fn describe(&self, mnemonic: &str, rest: &[&str]) -> Result<Answer, Error> {
        match mnemonic {
            "*IDN?" => Ok(said(format_args!(
                "igrt-firmware-sim (SIMULATOR), C-887, 0, {}",
                env!("CARGO_PKG_VERSION")
            ))),
            "SAI?" if rest.is_empty() || rest == ["ALL"] => {
                let mut lines = Lines::default();
                AXIS_NAMES
                    .iter()
                    .for_each(|name| lines.add(format_args!("{name}")));
                Ok(lines.done())
            }
            "SAI?" => Err(Error::ParameterSyntax),
            "CST?" => each(&AXIS_NAMES, rest, |_, out| {
                let _ = out.push_str("IGRT-SIM-HEXAPOD");
            }),
            "PUN?" => each(&AXIS_NAMES, rest, |index, out| {
                let _ = out.push_str(if index < 3 { "mm" } else { "deg" });
            }),
            "CSV?" => Ok(said(format_args!("2.0"))),
            "SSN?" => Ok(said(format_args!("0"))),
            "VST?" => Ok(said(format_args!("IGRT-SIM-HEXAPOD"))),
            "IFC?" if rest.is_empty() || rest == ["RSBAUD"] => {
                Ok(said(format_args!("RSBAUD=115200")))
            }
            "IFC?" => Err(Error::OutOfRange),
            "VER?" => {
                let mut lines = Lines::default();
                lines.add(format_args!(
                    "FW: igrt-firmware {}",
                    env!("CARGO_PKG_VERSION")
                ));
                lines.add(format_args!("This is a SIMULATOR"));
                Ok(lines.done())
            }
            "HLP?" => {
                let mut lines = Lines::default();
                lines.add(format_args!("The following commands are available:"));
                for (name, text) in HELP {
                    lines.add(format_args!("{name} {text}"));
                }
                lines.add(format_args!("end of help"));
                Ok(lines.done())
            }
            "KEN?" => self.enabled_systems(rest),
            "KLN?" => self.links(rest),
            "KLS?" => self.all_systems(rest),
            _ => Err(Error::UnknownCommand),
        }
    }

    fn enabled_systems(&self, rest: &[&str]) -> Result<Answer, Error> {
        none(rest)?;
        let mut lines = Lines::default();
        if self.systems.root() {
            lines.add(format_args!("{ROOT}={ROOT}"));
        }
        for system in self.systems.list_enabled() {
            lines.add(format_args!("{}={}", system.name, system.kind.name()));
        }
        Ok(lines.done())
    }

    fn links(&self, rest: &[&str]) -> Result<Answer, Error> {
        none(rest)?;
        let mut lines = Lines::default();
        lines.add(format_args!("{ROOT}={ROOT}"));
        for system in self.systems.list() {
            lines.add(format_args!("{}={}", system.name, system.parent));
        }
        Ok(lines.done())
    }

    fn all_systems(&self, rest: &[&str]) -> Result<Answer, Error> {
        none(rest)?;
        let mut lines = Lines::default();
        lines.add(format_args!("Name={ROOT} Parent={ROOT} Type={ROOT}"));
        for system in self.systems.list() {
            let [x, y, z, u, v, w] = system.place;
            lines.add(format_args!(
                "Name={} Parent={} Type={} X={x:.7} Y={y:.7} Z={z:.7} U={u:.7} V={v:.7} W={w:.7}",
                system.name,
                system.parent,
                system.kind.name()
            ));
        }
        Ok(lines.done())
    }

    /// A latched emergency stop or collision is told again and again; everything else once.
    fn take_error(&mut self) -> Error {
        let error = core::mem::take(&mut self.error);
        if error == Error::None
            && matches!(
                self.latched,
                Error::EmergencyStop | Error::EmergencyStopWas | Error::CollisionSwitch
            )
        {
            return self.latched;
        }
        error
    }

    fn command(&mut self, mnemonic: &str, rest: &[&str], now_us: u64) -> Result<(), Error> {
        match mnemonic {
            "MOV" => {
                let target = numbers(&AXIS_NAMES, rest, &self.shown(&self.target))?;
                self.go_to(&target, now_us)
            }
            "MVR" => {
                let by: Six = numbers(&AXIS_NAMES, rest, &[0.0; AXES])?;
                let mut target = self.shown(&self.target);
                for (value, by) in target.iter_mut().zip(&by) {
                    *value += by;
                }
                self.go_to(&target, now_us)
            }
            "HLT" => {
                for word in rest {
                    index_of(&AXIS_NAMES, word)?;
                }
                self.stop(now_us, false);
                Ok(())
            }
            "STP" => {
                none(rest)?;
                self.stop(now_us, true);
                Ok(())
            }
            "SVO" => self.switch_servo(rest, now_us),
            "FRF" => {
                for word in rest {
                    index_of(&AXIS_NAMES, word)?;
                }
                self.reference(now_us)
            }
            "VEL" => self.set_axis_velocity(rest),
            "VLS" => {
                let value = number(one(rest)?)?;
                if !(value > 0.0 && value <= VELOCITY_MM_S.1) {
                    return Err(Error::VelocityOutOfLimits);
                }
                self.velocity_mm_s = value;
                Ok(())
            }
            "SPI" => {
                if self.moving() {
                    return Err(Error::InMotion);
                }
                let pivot = numbers(&PIVOT_NAMES, rest, &self.systems.pivot())?;
                // Judged by where it was told to be: encoder noise is no rotation.
                let at = self.shown(&self.target);
                self.systems.set_pivot(pivot, &at)
            }
            "NLM" | "PLM" | "SSL" => self.set_soft_limit(mnemonic, rest),
            _ => Err(Error::UnknownCommand),
        }
    }

    fn switch_servo(&mut self, rest: &[&str], now_us: u64) -> Result<(), Error> {
        let mut wanted = None;
        for (_, word) in pairs(&AXIS_NAMES, rest)? {
            let on = switch(word)?;
            // A hexapod has one servo: all struts or none.
            if wanted.is_some_and(|known| known != on) {
                return Err(Error::OutOfRange);
            }
            wanted = Some(on);
        }
        if wanted == Some(true) {
            self.servo_on(now_us)
        } else {
            self.servo_off(now_us);
            Ok(())
        }
    }

    fn set_axis_velocity(&mut self, rest: &[&str]) -> Result<(), Error> {
        let wanted = numbers(&AXIS_NAMES, rest, &self.axis_velocity)?;
        let possible = wanted
            .iter()
            .zip(&AXIS_VELOCITY)
            .all(|(value, most)| *value > 0.0 && value <= most);
        if !possible {
            return Err(Error::VelocityOutOfLimits);
        }
        self.axis_velocity = wanted;
        Ok(())
    }

    fn set_soft_limit(&mut self, mnemonic: &str, rest: &[&str]) -> Result<(), Error> {
        if self.moving() {
            return Err(Error::InMotion);
        }
        let (mut limits, mut on) = (self.soft_limits, self.soft_limits_on);
        for (index, word) in pairs(&AXIS_NAMES, rest)? {
            let range = TRAVEL.get(index).copied().unwrap_or(0.0);
            let (Some((low, high)), Some(on)) = (limits.get_mut(index), on.get_mut(index)) else {
                return Err(Error::InvalidAxis);
            };
            match mnemonic {
                "NLM" => *low = number(word)?,
                "PLM" => *high = number(word)?,
                _ => *on = switch(word)?,
            }
            if !(-range <= *low && low <= high && *high <= range) {
                return Err(Error::SoftLimit);
            }
        }
        self.soft_limits = limits;
        self.soft_limits_on = on;
        Ok(())
    }

    fn change_system(&mut self, mnemonic: &str, rest: &[&str]) -> Result<(), Error> {
        let kind = match mnemonic {
            "KSD" => Kind::Ksd,
            "KSW" => Kind::Ksw,
            "KST" => Kind::Kst,
            "KSF" => Kind::Ksf,
            "KEN" | "KLN" | "KRM" => return self.arrange_systems(mnemonic, rest),
            _ => return Err(Error::UnknownCommand),
        };
        if self.moving() {
            return Err(Error::SystemInMotion);
        }
        let (name, place) = rest.split_first().ok_or(Error::ParameterCount)?;
        let place = if kind == Kind::Ksf {
            none(place)?;
            super::frame::six(&Self::platform(&self.target))
        } else {
            numbers(&AXIS_NAMES, place, &[0.0; AXES])?
        };
        self.systems.define(name, kind, place)
    }

    fn arrange_systems(&mut self, mnemonic: &str, rest: &[&str]) -> Result<(), Error> {
        if self.moving() {
            return Err(Error::SystemInMotion);
        }
        match (mnemonic, rest) {
            ("KEN", [name]) => self.systems.enable(name),
            ("KRM", [name]) => self.systems.remove(name),
            ("KLN", [child, parent]) => self.systems.link(child, parent),
            _ => Err(Error::ParameterCount),
        }
    }
}
