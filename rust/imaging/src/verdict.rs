//! Whether to believe a registration, and the reasons why not.

use std::fmt;

use crate::registration::Outcome;

/// What may be done with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// May be proposed.
    Reliable,
    /// Plausible, but a person has to look first: the reasons say where.
    Doubtful,
    /// Not believed; no correction may be made of it.
    Refused,
}

/// What a result must satisfy. The values are fitted on the validation ensemble (docs/validation.md).
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Least similarity of every view.
    pub similarity_min: f64,
    /// Largest share of a view's contrast that may lie where the image shows something else.
    pub foreign_max: f64,
    /// Least share of the pixels of a view's region that can be used.
    pub overlap_min: f64,
    /// Farthest from the nominal pose, mm and degrees: beyond it the setup is to be looked at, not moved away.
    pub displacement_max_mm: f64,
    /// Largest turn from the nominal pose, degrees.
    pub displacement_max_deg: f64,
    /// How far one view alone may still want to move, mm.
    pub disagreement_max_mm: f64,
    /// A rival elsewhere must be less alike than this share of the result's similarity.
    pub rival_max: f64,
    /// Largest standard deviation along any direction, mm, and about any axis, degrees, for a result that is not doubtful.
    pub sigma_max_mm: f64,
    /// See `sigma_max_mm`.
    pub sigma_max_deg: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            similarity_min: 0.6,
            foreign_max: 0.2,
            overlap_min: 0.25,
            displacement_max_mm: 30.0,
            displacement_max_deg: 8.0,
            disagreement_max_mm: 0.2,
            rival_max: 0.95,
            sigma_max_mm: 1.0,
            sigma_max_deg: 1.0,
        }
    }
}

/// One reason against a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Too many pixels hold no number.
    NotFinite {
        /// Index of the view.
        view: usize,
        /// Share of such pixels.
        share: f64,
    },
    /// An image without content.
    Flat {
        /// Index of the view.
        view: usize,
    },
    /// Too many pixels at one end of the scale.
    Saturated {
        /// Index of the view.
        view: usize,
        /// Share of such pixels.
        share: f64,
    },
    /// The region of interest is too small.
    SmallRegion {
        /// Index of the view.
        view: usize,
        /// Its share of the panel.
        share: f64,
    },
    /// Too few pixels see tissue that the CT holds.
    LowOverlap {
        /// Index of the view.
        view: usize,
        /// Share of pixels used.
        found: f64,
        /// Least share.
        needed: f64,
    },
    /// The image does not look like this CT.
    LowSimilarity {
        /// Index of the view.
        view: usize,
        /// Similarity.
        found: f64,
        /// Least similarity.
        needed: f64,
    },
    /// A part of the image shows something that is not in this CT.
    ForeignPart {
        /// Index of the view.
        view: usize,
        /// Share of the contrast that lies there.
        share: f64,
    },
    /// The descent did not settle.
    NotConverged {
        /// Length of the last step, mm.
        last_step_mm: f64,
    },
    /// The result is at or beyond the edge of what is searched.
    EdgeOfSearch {
        /// Distance from the nominal pose, mm.
        mm: f64,
        /// Turn from the nominal pose, degrees.
        deg: f64,
    },
    /// One view alone would go elsewhere.
    ViewsDisagree {
        /// Index of the view.
        view: usize,
        /// How far, mm.
        mm: f64,
    },
    /// Another place fits nearly as well: a neighbouring vertebra, perhaps.
    Rival {
        /// Its similarity as a share of the result's.
        share: f64,
        /// How far away, mm.
        mm: f64,
    },
    /// A motion that the views hardly determine.
    WeakDirection {
        /// Largest standard deviation of a shift, mm.
        mm: f64,
        /// Largest standard deviation of a turn, degrees.
        deg: f64,
    },
}

impl Reason {
    /// Whether it forbids the result, or only asks a person to look.
    #[must_use]
    pub fn refuses(&self) -> bool {
        !matches!(self, Reason::WeakDirection { .. })
    }

    /// A short name that does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NotFinite { .. } => "not_finite",
            Reason::Flat { .. } => "empty_image",
            Reason::Saturated { .. } => "saturated",
            Reason::SmallRegion { .. } => "small_region",
            Reason::LowOverlap { .. } => "low_overlap",
            Reason::LowSimilarity { .. } => "low_similarity",
            Reason::ForeignPart { .. } => "foreign_part",
            Reason::NotConverged { .. } => "not_converged",
            Reason::EdgeOfSearch { .. } => "edge_of_search",
            Reason::ViewsDisagree { .. } => "views_disagree",
            Reason::Rival { .. } => "wrong_level_suspected",
            Reason::WeakDirection { .. } => "weak_direction",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotFinite { view, share } => {
                write!(
                    f,
                    "view {view}: {:.0} % of the pixels hold no number; check the panel calibration",
                    share * 100.0
                )
            }
            Reason::Flat { view } => write!(
                f,
                "view {view}: the image is empty; check the exposure and the panel arm"
            ),
            Reason::Saturated { view, share } => {
                write!(
                    f,
                    "view {view}: {:.0} % of the pixels are at one end of the scale; lower or raise mAs",
                    share * 100.0
                )
            }
            Reason::SmallRegion { view, share } => write!(
                f,
                "view {view}: the region of interest is {:.1} % of the panel; draw a larger one or open the field",
                share * 100.0
            ),
            Reason::LowOverlap {
                view,
                found,
                needed,
            } => write!(
                f,
                "view {view}: only {:.0} % of the region's pixels see tissue that the CT holds ({:.0} % needed)",
                found * 100.0,
                needed * 100.0
            ),
            Reason::LowSimilarity {
                view,
                found,
                needed,
            } => write!(
                f,
                "view {view}: does not look like this CT (similarity {found:.2}, {needed:.2} needed); check patient, plan and field"
            ),
            Reason::ForeignPart { view, share } => write!(
                f,
                "view {view}: {:.0} % of what the CT should show is not in the image; is something in the beam, or a part of another image?",
                share * 100.0
            ),
            Reason::NotConverged { last_step_mm } => {
                write!(
                    f,
                    "the search did not settle: its last step was {last_step_mm:.2} mm"
                )
            }
            Reason::EdgeOfSearch { mm, deg } => write!(
                f,
                "found {mm:.1} mm and {deg:.1} deg from where the couch says the patient lies, at the edge of the search; set the patient up again"
            ),
            Reason::ViewsDisagree { view, mm } => {
                write!(
                    f,
                    "view {view} alone would move the patient {mm:.1} mm further; did the patient move between the views?"
                )
            }
            Reason::Rival { share, mm } => write!(
                f,
                "a place {mm:.0} mm away fits {:.0} % as well; check the vertebral level",
                share * 100.0
            ),
            Reason::WeakDirection { mm, deg } => write!(
                f,
                "the views leave a direction open: standard deviation {mm:.2} mm, {deg:.2} deg; take a view from another angle"
            ),
        }
    }
}

/// Fill in the verdict and its reasons.
pub(crate) fn judge(outcome: &mut Outcome, limits: &Limits, mut reasons: Vec<Reason>) {
    for (view, &found) in outcome.overlap.iter().enumerate() {
        if found < limits.overlap_min {
            reasons.push(Reason::LowOverlap {
                view,
                found,
                needed: limits.overlap_min,
            });
        }
    }
    for (view, &found) in outcome.similarity.iter().enumerate() {
        if found.is_nan() || found < limits.similarity_min {
            reasons.push(Reason::LowSimilarity {
                view,
                found,
                needed: limits.similarity_min,
            });
        }
    }
    for (view, &share) in outcome.foreign.iter().enumerate() {
        if exceeds(share, limits.foreign_max) {
            reasons.push(Reason::ForeignPart { view, share });
        }
    }
    if !outcome.converged {
        reasons.push(Reason::NotConverged {
            last_step_mm: outcome.last_step_mm,
        });
    }
    let (mm, deg) = outcome.displacement;
    if exceeds(mm, limits.displacement_max_mm) || exceeds(deg, limits.displacement_max_deg) {
        reasons.push(Reason::EdgeOfSearch { mm, deg });
    }
    for (view, &mm) in outcome.disagreement_mm.iter().enumerate() {
        if exceeds(mm, limits.disagreement_max_mm) {
            reasons.push(Reason::ViewsDisagree { view, mm });
        }
    }
    if let Some((share, mm)) = outcome.rival
        && share > limits.rival_max
    {
        reasons.push(Reason::Rival { share, mm });
    }
    let (mm, deg) = widest(outcome);
    if exceeds(mm, limits.sigma_max_mm) || exceeds(deg, limits.sigma_max_deg) {
        reasons.push(Reason::WeakDirection { mm, deg });
    }
    outcome.verdict = if reasons.iter().any(Reason::refuses) {
        Verdict::Refused
    } else if reasons.is_empty() {
        Verdict::Reliable
    } else {
        Verdict::Doubtful
    };
    outcome.reasons = reasons;
}

/// Not a number exceeds everything.
fn exceeds(value: f64, limit: f64) -> bool {
    value.is_nan() || value > limit
}

/// Largest standard deviation of a shift along any direction, and of a turn about any axis.
fn widest(outcome: &Outcome) -> (f64, f64) {
    let largest = |start: usize| {
        let block = outcome
            .covariance
            .fixed_view::<3, 3>(start, start)
            .into_owned();
        block.symmetric_eigenvalues().max().max(0.0).sqrt()
    };
    (largest(0), largest(3))
}
