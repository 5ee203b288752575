//! 6-DOF registration of one to four X-ray views with a CT: Gauss-Newton, coarse to fine, robust to what the model does not hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nalgebra::{Isometry3, Matrix6, Point3, Vector3, Vector6};
use rayon::prelude::*;

use crate::correction::{
    covariance_at_target, covariance_of_six_numbers, six_numbers, small_motion,
};
use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::image::{Shape, binned};
use crate::kernel::Isa;
use crate::verdict::{Limits, Reason, Verdict, judge};
use crate::view::{Observed, ViewSystem, Workspace};
use crate::volume::{Pyramid, Volume};

/// Most views in one registration.
pub const VIEWS_MAX: usize = 4;
/// Smallest image side, pixels, at the coarsest level: below it the gradient filter eats the picture.
const SIDE_MIN: usize = 40;
/// Levels of the image pyramid.
const LEVELS: usize = 3;
/// Gauss-Newton steps per level, finest first.
const STEPS_MAX: [usize; LEVELS] = [8, 10, 14];
/// A step is never longer than this: the linear model holds over a few pixels only.
const STEP_LIMIT_MM: f64 = 8.0;
const STEP_LIMIT_RAD: f64 = 0.07;
/// Lever by which a rotation counts as millimetres when steps are measured: the size of a chest or head seen.
const LEVER_MM: f64 = 80.0;
/// Two descents closer than this have found the same place.
const SAME_PLACE_MM: f64 = 6.0;
/// A start that came less far than this share of the best at the coarsest level is not followed further.
const RIVAL_SHARE_COARSE: f64 = 0.75;
/// A region of interest smaller than this share of the panel holds too little to tell one place from another.
const REGION_SHARE_MIN: f64 = 0.04;
/// Pixels per side of the blocks over which residuals are taken as one: they are correlated by smoothing and anatomy.
const SCORE_BLOCK: usize = 12;
/// A stop that another thread may pull: a registration that holds it gives up before its next step.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Ask for the end. It cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// An error once the end was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(ImagingError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// What the image model errs by, beyond what the residuals of one registration show: voxels of the CT, hardening of the beam, scatter left
/// over. Fitted on training pairs, shown on others (docs/validation.md).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelError {
    /// Factor of the standard deviations that the residuals give.
    pub inflation: f64,
    /// Standard deviation added to every shift, mm.
    pub shift_mm: f64,
    /// Standard deviation added to every turn, degrees.
    pub turn_deg: f64,
}

impl Default for ModelError {
    fn default() -> Self {
        Self {
            inflation: 1.35,
            shift_mm: 0.0,
            turn_deg: 0.003,
        }
    }
}

impl ModelError {
    /// Nothing added.
    pub const NONE: ModelError = ModelError {
        inflation: 1.0,
        shift_mm: 0.0,
        turn_deg: 0.0,
    };

    fn added_to(&self, residuals: &Matrix6<f64>, free: &[bool; 6]) -> Matrix6<f64> {
        let (shift, turn) = (self.shift_mm.powi(2), self.turn_deg.to_radians().powi(2));
        let diagonal = Vector6::from_iterator(free.iter().enumerate().map(|(axis, &f)| match f {
            true if axis < 3 => shift,
            true => turn,
            false => 0.0,
        }));
        residuals * self.inflation.powi(2) + Matrix6::from_diagonal(&diagonal)
    }
}

/// One X-ray image as line integrals of attenuation, and where it was taken.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Source and pixel rays in the fixed frame.
    pub projection: Projection,
    /// Line integrals row by row, `rows * cols`; NaN marks a pixel that holds nothing.
    pub image: &'a [f32],
    /// Pixels to use, if not all.
    pub region: Option<&'a [bool]>,
}

/// What may move, where to begin and what to believe.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which of lateral, longitudinal, vertical, and the turns about X, Y and Z of the fixed frame may move.
    pub free: [bool; 6],
    /// Standard deviations of the six motions about the nominal pose, mm and degrees, in the order of `free`: how well the setup is known
    /// beforehand. Infinity, the default, says nothing.
    pub prior_sigma: [f64; 6],
    /// Starts besides the nominal pose, mm along the patient's head direction, so that a neighbouring vertebra is tried as well.
    pub level_offsets_mm: Vec<f64>,
    /// What a result must satisfy to be believed.
    pub limits: Limits,
    /// Where the plan wants the target, fixed frame, mm: the isocentre unless told otherwise.
    pub target: Point3<f64>,
    /// Whether scatter is estimated from the images and taken off before the finest level.
    pub scatter: bool,
    /// Instruction set.
    pub isa: Isa,
    /// What is added to the covariance of the residuals.
    pub model_error: ModelError,
    /// Covariance of the small motion (mm and radians, fixed frame, about the isocentre) that errors of the calibrated geometry feign;
    /// it is added as it is.
    pub geometry: Matrix6<f64>,
    /// Looked at before every step.
    pub cancel: CancelFlag,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            free: [true; 6],
            prior_sigma: [f64::INFINITY; 6],
            level_offsets_mm: vec![-50.0, -25.0, 25.0, 50.0],
            limits: Limits::default(),
            target: Point3::origin(),
            scatter: true,
            isa: Isa::best(),
            model_error: ModelError::default(),
            geometry: Matrix6::zeros(),
            cancel: CancelFlag::default(),
        }
    }
}

/// What was found. The numbers are for the record; only a verdict of `Reliable` may be acted on.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The estimated pose of the patient, `fixed <- patient`.
    pub pose: Isometry3<f64>,
    /// The correction: `correction . pose` is the planned pose.
    pub correction: Isometry3<f64>,
    /// Its six numbers, mm and degrees.
    pub six_numbers: Vector6<f64>,
    /// Their covariance, mm and degrees.
    pub covariance: Matrix6<f64>,
    /// The covariance that the residuals alone give, before [`ModelError`]: for the calibration of the latter.
    pub residual_covariance: Matrix6<f64>,
    /// Root mean square of the distance by which the target may be missed, mm.
    pub target_sigma_mm: f64,
    /// Distance that the miss at the target exceeds in 5 % of cases, mm.
    pub target_bound_mm: f64,
    /// Distance from the nominal pose at the isocentre, mm, and the angle of the turn, degrees.
    pub displacement: (f64, f64),
    /// Per view, the normalised correlation of smoothed gradients.
    pub similarity: Vec<f64>,
    /// Per view, the share of the model's contrast that lies where the image shows something else.
    pub foreign: Vec<f64>,
    /// Per view, the share of the pixels of its region that are used.
    pub overlap: Vec<f64>,
    /// Per view, the median share of scatter in the signal, as estimated; zero when it was not.
    pub scatter_share: Vec<f64>,
    /// Per view, how far the view alone would still move the isocentre in its own plane, mm.
    pub disagreement_mm: Vec<f64>,
    /// A start that ended elsewhere: its mean similarity over that of the result at the same level, and its distance in mm.
    pub rival: Option<(f64, f64)>,
    /// Gauss-Newton steps of the result, all levels.
    pub iterations: usize,
    /// Length of the last step, mm.
    pub last_step_mm: f64,
    /// Whether the last step was short enough.
    pub converged: bool,
    /// Whether to believe it.
    pub verdict: Verdict,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// One resolution: the views as seen, and which level of the volume goes with them.
struct Level {
    views: Vec<Observed>,
    volume: usize,
    steps_max: usize,
    tolerance_mm: f64,
}

/// Where a descent has come to.
#[derive(Debug, Clone)]
struct Descent {
    pose: Isometry3<f64>,
    systems: Vec<ViewSystem>,
    steps: usize,
    last_step_mm: f64,
    converged: bool,
}

impl Descent {
    fn similarity(&self) -> f64 {
        self.systems.iter().map(|s| s.similarity).sum::<f64>() / self.systems.len().max(1) as f64
    }
}

/// Find the patient in the views.
///
/// `nominal` is `fixed <- patient` as the couch pose at imaging and the planned placement have it; the search begins there. `planned` is
/// where the plan wants the patient: the correction is `planned . estimate^-1`.
///
/// # Errors
/// `Image`, `Geometry` or `Settings` for input that cannot be registered at all. An answer that is not believed is not an error: it is an
/// [`Outcome`] whose verdict says so.
pub fn register(
    pyramid: &Pyramid,
    views: &[View<'_>],
    nominal: &Isometry3<f64>,
    planned: &Isometry3<f64>,
    settings: &Settings,
) -> Result<Outcome> {
    check_input(views, nominal, planned, settings)?;
    let mut reasons: Vec<Reason> = Vec::new();
    let valid: Vec<Vec<bool>> = views
        .iter()
        .enumerate()
        .map(|(n, view)| usable(n, view, &mut reasons))
        .collect();
    let mut levels = resolutions(pyramid, views, &valid)?;
    let mut works: Vec<Workspace> = views.iter().map(|_| Workspace::default()).collect();
    let prior = Prior::new(settings, nominal)?;
    let (mut found, rival) = search(pyramid, &levels, &prior, settings, &mut works)?;
    let mut steps = found.steps;
    let mut scatter_share = vec![0.0; views.len()];
    if settings.scatter {
        scatter_share = take_scatter_off(pyramid, &mut levels, &found.pose, settings, &mut works)?;
    }
    let [finest, ..] = levels.as_slice() else {
        return Err(ImagingError::Settings("no image level".into()));
    };
    found = descend(pyramid, finest, &found.pose, &prior, settings, &mut works)?;
    steps += found.steps;
    found.steps = steps;
    let systems = evaluate(
        pyramid,
        finest,
        &found.pose,
        settings,
        &mut works,
        Some(SCORE_BLOCK),
    )?;
    let mut outcome = summarise(&found, &systems, finest, &prior, planned, settings);
    outcome.rival = rival;
    outcome.scatter_share = scatter_share;
    judge(&mut outcome, &settings.limits, reasons);
    Ok(outcome)
}

fn check_input(
    views: &[View<'_>],
    nominal: &Isometry3<f64>,
    planned: &Isometry3<f64>,
    settings: &Settings,
) -> Result<()> {
    if views.is_empty() || views.len() > VIEWS_MAX {
        return Err(ImagingError::Settings(format!(
            "{} views; one to {VIEWS_MAX} can be registered",
            views.len()
        )));
    }
    if !settings.free.iter().any(|&f| f) {
        return Err(ImagingError::Settings("no motion is free".into()));
    }
    for pose in [nominal, planned] {
        if !pose.to_homogeneous().iter().all(|x| x.is_finite()) {
            return Err(ImagingError::Settings(
                "the poses of the patient must be finite".into(),
            ));
        }
    }
    for (n, view) in views.iter().enumerate() {
        let pixels = view.projection.rows * view.projection.cols;
        let image = |reason: String| Err(ImagingError::Image { view: n, reason });
        if view.image.len() != pixels {
            return image(format!(
                "{} pixels where the geometry says {pixels}",
                view.image.len()
            ));
        }
        if view.region.is_some_and(|r| r.len() != pixels) {
            return image("the region of interest has another size than the image".into());
        }
        if view.projection.rows.min(view.projection.cols) < SIDE_MIN {
            return image(format!("smaller than {SIDE_MIN} pixels on a side"));
        }
        view.projection.pixel_from_ray()?;
    }
    Ok(())
}

/// The pixels that hold something, and what is wrong with the image as a whole.
fn usable(view: usize, input: &View<'_>, reasons: &mut Vec<Reason>) -> Vec<bool> {
    let finite: Vec<bool> = input.image.iter().map(|x| x.is_finite()).collect();
    let count = finite.iter().filter(|&&ok| ok).count();
    let total = finite.len().max(1);
    if (count as f64) < 0.8 * total as f64 {
        reasons.push(Reason::NotFinite {
            view,
            share: 1.0 - count as f64 / total as f64,
        });
    }
    let seen = || input.image.iter().copied().filter(|x| x.is_finite());
    let (low, high) = seen().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| {
        (l.min(x), h.max(x))
    });
    if count == 0 || high - low < 1e-3 {
        reasons.push(Reason::Flat { view });
    } else {
        let stuck = |value: f32| seen().filter(|&x| x == value).count() as f64 / total as f64;
        let share = stuck(low).max(stuck(high));
        if share > 0.2 {
            reasons.push(Reason::Saturated { view, share });
        }
    }
    let Some(region) = input.region else {
        return finite;
    };
    let inside: Vec<bool> = finite.iter().zip(region).map(|(&a, &b)| a && b).collect();
    let share = inside.iter().filter(|&&ok| ok).count() as f64 / total as f64;
    if share < REGION_SHARE_MIN {
        reasons.push(Reason::SmallRegion { view, share });
    }
    inside
}

/// Pixel size of a projection at the middle of a volume, mm.
fn pixel_in_patient_mm(projection: &Projection, volume: &Volume, pose: &Isometry3<f64>) -> f64 {
    let middle = projection.ray(
        (projection.cols as f64 - 1.0) / 2.0,
        (projection.rows as f64 - 1.0) / 2.0,
    );
    let depth = (pose * volume.centre() - projection.source).dot(&middle) / middle.norm_squared();
    projection.col_step.norm().min(projection.row_step.norm()) * depth.abs().clamp(0.2, 1.0)
}

/// Image levels, finest first: the finest has pixels a little smaller than the voxels, each next one twice as large.
fn resolutions(pyramid: &Pyramid, views: &[View<'_>], valid: &[Vec<bool>]) -> Result<Vec<Level>> {
    const PIXEL_PER_VOXEL: f64 = 0.85;
    let finest = pyramid.finest()?;
    let voxel = finest
        .spacing_mm()
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    let mut levels: Vec<Level> = (0..LEVELS)
        .map(|n| Level {
            views: Vec::new(),
            volume: n,
            steps_max: STEPS_MAX.get(n).copied().unwrap_or(10),
            tolerance_mm: if n == 0 {
                0.005
            } else {
                0.05 * voxel * (1 << n) as f64
            },
        })
        .collect();
    for (view, valid) in views.iter().zip(valid) {
        let shape = Shape {
            rows: view.projection.rows,
            cols: view.projection.cols,
        };
        let pixel = pixel_in_patient_mm(&view.projection, finest, &Isometry3::identity());
        let mut bin = 1;
        while pixel * (2 * bin) as f64 <= PIXEL_PER_VOXEL * voxel
            && shape.rows.min(shape.cols) / (2 * bin) >= SIDE_MIN
        {
            bin *= 2;
        }
        for (n, level) in levels.iter_mut().enumerate() {
            let mut bins = bin << n;
            while bins > 1 && shape.rows.min(shape.cols) / bins < SIDE_MIN {
                bins /= 2;
            }
            let (image, valid, small) = binned(view.image, valid, shape, bins);
            level.views.push(Observed::new(
                view.projection.binned(bins),
                &image,
                &valid,
                small,
            ));
        }
    }
    Ok(levels)
}

/// Descend from every start at the coarsest level, and on at the second level from where it went well. The best is kept; the best
/// of those that ended elsewhere is named, as a share of its similarity and a distance.
fn search(
    pyramid: &Pyramid,
    levels: &[Level],
    prior: &Prior,
    settings: &Settings,
    works: &mut [Workspace],
) -> Result<(Descent, Option<(f64, f64)>)> {
    let [_, second, coarse] = levels else {
        return Err(ImagingError::Settings(
            "three image levels are needed".into(),
        ));
    };
    let nominal = &prior.nominal;
    let mut found = vec![descend(pyramid, coarse, nominal, prior, settings, works)?];
    for offset in &settings.level_offsets_mm {
        let start = nominal * nalgebra::Translation3::new(0.0, *offset, 0.0);
        match descend(pyramid, coarse, &start, prior, settings, works) {
            Ok(d) => found.push(d),
            Err(ImagingError::Cancelled) => return Err(ImagingError::Cancelled),
            // A start that throws the CT out of the beam is no rival.
            Err(_) => {}
        }
    }
    found.sort_by(|a, b| b.similarity().total_cmp(&a.similarity()));
    let best_coarse = found.first().map_or(0.0, Descent::similarity);
    let mut refined: Vec<Descent> = Vec::new();
    for d in &found {
        let seen = refined
            .iter()
            .any(|r| distance_mm(&r.pose, &d.pose) < SAME_PLACE_MM);
        if seen || (!refined.is_empty() && d.similarity() < RIVAL_SHARE_COARSE * best_coarse) {
            continue;
        }
        let mut on = descend(pyramid, second, &d.pose, prior, settings, works)?;
        on.steps += d.steps;
        refined.push(on);
    }
    refined.sort_by(|a, b| b.similarity().total_cmp(&a.similarity()));
    let mut refined = refined.into_iter();
    let best = refined
        .next()
        .ok_or_else(|| ImagingError::Settings("nothing to start from".into()))?;
    let rival = refined
        .map(|d| {
            (
                d.similarity() / best.similarity().max(1e-9),
                distance_mm(&d.pose, &best.pose),
            )
        })
        .find(|(_, distance)| *distance > SAME_PLACE_MM);
    Ok((best, rival))
}

/// Estimate the scatter at the second level, where the pose is known to about a millimetre, and take it off the finest one.
fn take_scatter_off(
    pyramid: &Pyramid,
    levels: &mut [Level],
    pose: &Isometry3<f64>,
    settings: &Settings,
    works: &mut [Workspace],
) -> Result<Vec<f64>> {
    let [finest, second, ..] = levels else {
        return Ok(Vec::new());
    };
    let volume = pyramid.level(second.volume)?;
    finest
        .views
        .par_iter_mut()
        .zip(&second.views)
        .zip(works.par_iter_mut())
        .map(|((fine, coarse), work)| {
            let Some(field) = coarse.scatter(volume, pose, settings.isa, work)? else {
                return Ok(0.0);
            };
            let (clean, share) = fine.without(&field);
            *fine = clean;
            Ok(share)
        })
        .collect()
}

/// How far apart two poses put the isocentre, with the turn counted on a lever.
fn distance_mm(a: &Isometry3<f64>, b: &Isometry3<f64>) -> f64 {
    let d = a * b.inverse();
    d.translation.vector.norm() + LEVER_MM * d.rotation.angle()
}

fn evaluate(
    pyramid: &Pyramid,
    level: &Level,
    pose: &Isometry3<f64>,
    settings: &Settings,
    works: &mut [Workspace],
    blocks: Option<usize>,
) -> Result<Vec<ViewSystem>> {
    let volume = pyramid.level(level.volume)?;
    level
        .views
        .par_iter()
        .zip(works.par_iter_mut())
        .map(|(view, work)| view.system(volume, pose, settings.isa, work, blocks))
        .collect()
}

/// Gauss-Newton at one level.
fn descend(
    pyramid: &Pyramid,
    level: &Level,
    start: &Isometry3<f64>,
    prior: &Prior,
    settings: &Settings,
    works: &mut [Workspace],
) -> Result<Descent> {
    let mut at = Descent {
        pose: *start,
        systems: Vec::new(),
        steps: 0,
        last_step_mm: f64::INFINITY,
        converged: false,
    };
    while at.steps < level.steps_max {
        settings.cancel.check()?;
        at.systems = evaluate(pyramid, level, &at.pose, settings, works, None)?;
        let (mut hessian, mut gradient) = combined(&at.systems);
        prior.add_to(&at.pose, &mut hessian, &mut gradient);
        let Some(mut step) = solve(&hessian, &gradient, &settings.free) else {
            break;
        };
        let (t, r) = (
            step.fixed_rows::<3>(0).norm(),
            step.fixed_rows::<3>(3).norm(),
        );
        step *= (STEP_LIMIT_MM / t.max(1e-12))
            .min(STEP_LIMIT_RAD / r.max(1e-12))
            .min(1.0);
        at.pose = small_motion(&step) * at.pose;
        at.steps += 1;
        at.last_step_mm =
            step.fixed_rows::<3>(0).norm() + LEVER_MM * step.fixed_rows::<3>(3).norm();
        if at.last_step_mm < level.tolerance_mm {
            at.converged = true;
            break;
        }
    }
    Ok(at)
}

/// What is known before the images: the nominal pose, and how firmly each motion is held to it.
struct Prior {
    nominal: Isometry3<f64>,
    /// One over the variance, mm and radians.
    weight: Vector6<f64>,
}

impl Prior {
    fn new(settings: &Settings, nominal: &Isometry3<f64>) -> Result<Self> {
        if settings.prior_sigma.iter().any(|s| s.is_nan() || *s <= 0.0) {
            return Err(ImagingError::Settings(
                "the prior's standard deviations must be positive; infinity says nothing, `free` holds a motion".into(),
            ));
        }
        let weight = Vector6::from_iterator(settings.prior_sigma.iter().enumerate().map(
            |(axis, sigma)| {
                let sigma = if axis < 3 { *sigma } else { sigma.to_radians() };
                1.0 / (sigma * sigma)
            },
        ));
        Ok(Self {
            nominal: *nominal,
            weight,
        })
    }

    fn add_to(
        &self,
        pose: &Isometry3<f64>,
        hessian: &mut Matrix6<f64>,
        gradient: &mut Vector6<f64>,
    ) {
        let moved = pose * self.nominal.inverse();
        let mut xi = Vector6::zeros();
        xi.fixed_rows_mut::<3>(0)
            .copy_from(&moved.translation.vector);
        xi.fixed_rows_mut::<3>(3)
            .copy_from(&moved.rotation.scaled_axis());
        *hessian += Matrix6::from_diagonal(&self.weight);
        *gradient -= self.weight.component_mul(&xi);
    }
}

fn combined(systems: &[ViewSystem]) -> (Matrix6<f64>, Vector6<f64>) {
    systems
        .iter()
        .fold((Matrix6::zeros(), Vector6::zeros()), |(h, b), s| {
            (h + s.hessian, b + s.gradient)
        })
}

/// The free part of a matrix, with ones on the diagonal of what is held.
fn free_part(matrix: &Matrix6<f64>, free: &[bool; 6]) -> Matrix6<f64> {
    let one = Vector6::from_iterator(free.iter().map(|&f| if f { 1.0 } else { 0.0 }));
    let held = Vector6::repeat(1.0) - one;
    matrix.component_mul(&(one * one.transpose())) + Matrix6::from_diagonal(&held)
}

/// The step of the free motions; `None` when the views say nothing.
fn solve(
    hessian: &Matrix6<f64>,
    gradient: &Vector6<f64>,
    free: &[bool; 6],
) -> Option<Vector6<f64>> {
    // A little Levenberg damping: a single view hardly knows its depth, and a step there must not run away.
    const DAMPING: f64 = 1e-3;
    let damped = hessian + Matrix6::from_diagonal(&(hessian.diagonal() * DAMPING));
    let held = Vector6::from_iterator(free.iter().map(|&f| if f { 1.0 } else { 0.0 }));
    let right = gradient.component_mul(&held);
    free_part(&damped, free)
        .cholesky()
        .map(|c| c.solve(&right))
        .filter(|x| x.iter().all(|v| v.is_finite()))
}

/// `H^-1 S H^-1` over the free motions, S from the scores of blocks of pixels and from the prior.
fn sandwich(systems: &[ViewSystem], prior: &Prior, free: &[bool; 6]) -> Matrix6<f64> {
    let (mut hessian, _) = combined(systems);
    hessian += Matrix6::from_diagonal(&prior.weight);
    let free_motions = Vector6::from_iterator(free.iter().map(|&f| if f { 1.0 } else { 0.0 }));
    let mut meat = Matrix6::from_diagonal(&prior.weight.component_mul(&free_motions));
    for score in systems.iter().flat_map(|s| &s.block_scores) {
        let score = score.component_mul(&free_motions);
        meat += score * score.transpose();
    }
    match free_part(&hessian, free).cholesky() {
        Some(c) => {
            let inverse = c.inverse();
            inverse * meat * inverse
        }
        // The views say nothing about some direction: nothing is known.
        None => Matrix6::identity() * 1e6,
    }
}

fn summarise(
    found: &Descent,
    systems: &[ViewSystem],
    level: &Level,
    prior: &Prior,
    planned: &Isometry3<f64>,
    settings: &Settings,
) -> Outcome {
    let correction = planned * found.pose.inverse();
    let residuals = sandwich(systems, prior, &settings.free);
    let motion = settings.model_error.added_to(&residuals, &settings.free) + settings.geometry;
    let at_target = covariance_at_target(&correction, &motion, &settings.target);
    let moved = found.pose * prior.nominal.inverse();
    Outcome {
        pose: found.pose,
        correction,
        six_numbers: six_numbers(&correction),
        covariance: covariance_of_six_numbers(&correction, &motion),
        residual_covariance: covariance_of_six_numbers(&correction, &residuals),
        target_sigma_mm: at_target.trace().max(0.0).sqrt(),
        target_bound_mm: bound_of_norm(&at_target),
        displacement: (
            moved.translation.vector.norm(),
            moved.rotation.angle().to_degrees(),
        ),
        similarity: systems.iter().map(|s| s.similarity).collect(),
        foreign: systems.iter().map(|s| s.foreign).collect(),
        overlap: systems.iter().map(|s| s.overlap).collect(),
        disagreement_mm: systems
            .iter()
            .zip(&level.views)
            .map(|(s, v)| in_plane_pull_mm(s, &v.projection, settings))
            .collect(),
        scatter_share: Vec::new(),
        rival: None,
        iterations: found.steps,
        last_step_mm: found.last_step_mm,
        converged: found.converged,
        verdict: Verdict::Refused,
        reasons: Vec::new(),
    }
}

/// How far one view alone would move the isocentre within its own plane, mm.
fn in_plane_pull_mm(system: &ViewSystem, projection: &Projection, settings: &Settings) -> f64 {
    let Some(step) = solve(&system.hessian, &system.gradient, &settings.free) else {
        return 0.0;
    };
    let beam = projection
        .ray(
            (projection.cols as f64 - 1.0) / 2.0,
            (projection.rows as f64 - 1.0) / 2.0,
        )
        .normalize();
    let shift: Vector3<f64> = step.fixed_rows::<3>(0).into_owned();
    (shift - beam * beam.dot(&shift)).norm()
}

/// The length that a Gaussian vector of this covariance exceeds in 5 % of cases: a scaled chi-square of the same mean and variance
/// (Satterthwaite), its quantile by Wilson and Hilferty.
fn bound_of_norm(covariance: &nalgebra::Matrix3<f64>) -> f64 {
    let mean = covariance.trace();
    if mean <= 0.0 {
        return 0.0;
    }
    let freedom = mean * mean / (covariance * covariance).trace();
    let h = 2.0 / (9.0 * freedom);
    (mean * (1.0 - h + 1.6449 * h.sqrt()).powi(3)).sqrt()
}
