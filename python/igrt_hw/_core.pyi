"""The Rust core. Millimetres and degrees; IEC 61217 frames; arrays are float64 and C-contiguous unless said otherwise.

This file is the reference for the Python face of the core: shapes, units, frames, errors. Sections by room.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BATCH_STATUS",
    "AttenuationVolume",
    "CancelFlag",
    "ClearanceInputError",
    "ClearanceRoom",
    "CoreError",
    "Couch",
    "FrameError",
    "GeometryError",
    "ImagingInputError",
    "LimitError",
    "NotConvergedError",
    "NotReproducedError",
    "PanelGeometry",
    "Pose",
    "RegistrationCancelled",
    "RegistrationOutcome",
    "RigidOutcome",
    "SingularError",
    "UnreachableError",
    "draw_room",
    "reconstruct_fdk",
    "register_views",
    "register_volumes",
]

_Six = tuple[float, float, float, float, float, float]
_Numbers = Sequence[float] | NDArray[np.floating[Any]] | Iterable[float]

# --- errors ----------------------------------------------------------------------------------------------------------

class CoreError(ValueError):
    """Base of every error of the core; the message says what was wrong, where, and what to do."""

class GeometryError(CoreError):
    """Numbers that describe no pose, machine or axis values."""

class FrameError(CoreError):
    """Poses composed with the wrong neighbour, or an unknown frame."""

class UnreachableError(CoreError):
    """No axis values reach the pose, within limits or not."""

class SingularError(CoreError):
    """Infinitely many axis values reach the pose."""

class LimitError(CoreError):
    """Outside the limits of the machine; the message names every axis and by how much."""

class NotReproducedError(CoreError):
    """Axis values were found that do not reproduce the pose to the promised tolerance; nothing is returned."""

class NotConvergedError(CoreError):
    """An iteration did not settle within its bound."""

# --- kinematics ------------------------------------------------------------------------------------------------------

@final
class Pose:
    """A rigid transform `to_frame <- from_frame`; maps coordinates in `from_frame` to coordinates in `to_frame`, mm.

    Immutable. Frames are checked at run time: `a @ b` needs `a.from_frame == b.to_frame`.
    """

    @staticmethod
    def identity(to_frame: str, from_frame: str) -> Pose:
        """Coordinates stay as they are.

        Raises:
            FrameError: an unknown frame (`igrt_hw.geometry.Frame` lists them).
        """
    @staticmethod
    def from_matrix(matrix: ArrayLike, to_frame: str, from_frame: str) -> Pose:
        """From a homogeneous (4, 4) matrix, mm; checked for rigidity to 1e-6 and brought onto the nearest rotation.

        Raises:
            GeometryError: wrong shape, not finite, not rigid, a reflection, or an absurd scale.
            FrameError: an unknown frame.
        """
    @staticmethod
    def from_parameters(parameters: _Numbers, to_frame: str, from_frame: str) -> Pose:
        """T(x, y, z) . Rz(rotation) . Rx(pitch) . Ry(roll) from six numbers in that order, mm and degrees.

        Raises:
            GeometryError: not six finite numbers.
            FrameError: an unknown frame.
        """
    @property
    def to_frame(self) -> str: ...
    @property
    def from_frame(self) -> str: ...
    @property
    def translation_mm(self) -> tuple[float, float, float]:
        """Origin of `from_frame` in `to_frame`, mm."""
    def parameters(self) -> _Six:
        """The six numbers of `from_parameters`, mm and degrees, |pitch| <= 90.

        Raises:
            SingularError: a pitch of 90 degrees, where rotation and roll cannot be told apart.
        """
    def matrix(self) -> NDArray[np.float64]:
        """Homogeneous (4, 4) matrix, mm."""
    def rotation(self) -> NDArray[np.float64]:
        """Rotation (3, 3)."""
    def expect_frames(self, to_frame: str, from_frame: str) -> None:
        """Raises FrameError unless the pose carries exactly these frames."""
    def compose(self, next: Pose) -> Pose:
        """`self @ next`: `a <- b` with `b <- c` is `a <- c`.

        Raises:
            FrameError: wrong neighbours.
        """
    def __matmul__(self, next: Pose, /) -> Pose: ...
    def __rmatmul__(self, previous: Pose, /) -> Pose: ...
    def inverse(self) -> Pose:
        """`from_frame <- to_frame`."""
    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Points (n, 3) or (3,) of `from_frame` in `to_frame`, mm.

        Raises:
            GeometryError: another shape.
        """
    def deviation(self, other: Pose) -> tuple[float, float]:
        """Distance of the origins (mm) and angle between the axes (degrees, >= 0) of two poses with the same frames.

        Raises:
            FrameError: different frames.
        """

BATCH_STATUS: tuple[str, ...]
"""Names of the status codes of a batch: ok, unreachable, singular, limit, geometry, not_converged,
not_reproduced."""

@final
class Couch:
    """A couch: family, axis limits and place in the room. Immutable.

    Axes are six numbers in the order of `axis_names`, mm for linear and degrees for rotary axes: a tuple, a list, an
    array, `Axes6`. `limits` are six pairs (lower, upper). Every inverse result reproduces its pose to 1e-6 mm and
    1e-9 rad. Methods that take axes raise GeometryError for numbers that cannot be axis values; limits are checked only
    where it is said.
    """

    @staticmethod
    def pedestal(
        limits: ArrayLike,
        *,
        eccentric_mm: float = 0.0,
        eccentric_deg: float = 0.0,
        base: Pose | None = None,
        tool: Pose | None = None,
    ) -> Couch:
        """The linac couch: M = Rz(rotation) . T(0, Ey, 0) . Rz(theta_e) . T(axes) . Rx(pitch) . Ry(roll), IEC 61217.

        `base` (fixed <- base) and `tool` (flange <- table_top) place the chain; identity unless given.
        """
    @staticmethod
    def hexapod(
        limits: ArrayLike,
        *,
        base_joints_mm: ArrayLike,
        platform_joints_mm: ArrayLike,
        leg_limits_mm: tuple[float, float],
        base_axes: _Numbers | None = None,
        eccentric_mm: float = 0.0,
        eccentric_deg: float = 0.0,
    ) -> Couch:
        """A Stewart platform on a base couch, shown as the six Cartesian couch axes.

        Joints (6, 3) are given in the table-top frame with the platform at neutral, where the base couch's axes equal
        the outward ones. `base_axes`: lateral, longitudinal, vertical (mm), rotation (deg) of the base couch. Leg
        limits count as limits.
        """
    @staticmethod
    def arm(
        limits: ArrayLike,
        *,
        offsets_mm: tuple[float, float, float],
        lengths_mm: tuple[float, float, float, float],
        signs: Sequence[float] | None = None,
        zeros_deg: Sequence[float] | None = None,
        base: Pose | None = None,
        tool: Pose | None = None,
    ) -> Couch:
        """Six revolute joints with a spherical wrist: offsets a1, a2, b, lengths c1 to c4 (Brandstötter et al. 2014).

        Joint of the model = sign * axis + zero. `base` is fixed <- base, `tool` is flange <- table_top.
        """
    @staticmethod
    def scara(
        limits: ArrayLike,
        *,
        upper_mm: float,
        fore_mm: float,
        wrist_mm: tuple[float, float, float],
        signs: Sequence[float] | None = None,
        zeros: Sequence[float] | None = None,
        base: Pose | None = None,
        tool: Pose | None = None,
    ) -> Couch:
        """Vertical column, shoulder, elbow and wrist turning about vertical axes, then pitch and roll.

        Base frame: T(0, 0, v) . Rz(q1) . T(upper) . Rz(q2) . T(fore) . Rz(q3) . T(wrist_mm) . Rx(pitch) . Ry(roll).
        """
    @property
    def family(self) -> str:
        """`pedestal`, `hexapod`, `arm` or `scara`."""
    @property
    def axis_names(self) -> tuple[str, str, str, str, str, str]: ...
    @property
    def axis_kinds(self) -> tuple[str, str, str, str, str, str]:
        """`linear` (mm) or `rotary` (degrees) per axis."""
    @property
    def limits(self) -> list[tuple[float, float]]: ...
    def forward(self, axes: _Numbers) -> Pose:
        """Pose fixed <- table_top. Limits are not checked: a couch is where it is."""
    def inverse(self, pose: Pose) -> list[_Six]:
        """Every axis set within the limits that reaches fixed <- table_top.

        Raises:
            UnreachableError, SingularError, FrameError.
            LimitError: branches exist, none within the limits; the message describes the least bad one.
        """
    def inverse_nearest(self, pose: Pose, seed: _Numbers) -> _Six:
        """The axis set of `inverse` nearest to `seed` (1 rad counts as 500 mm); whole turns follow the seed.

        Raises:
            As `inverse`.
        """
    def branches(self, pose: Pose) -> list[_Six]:
        """Every axis set that reaches the pose whatever the limits say. To explain a refusal, never to move.

        Raises:
            UnreachableError, SingularError, FrameError.
        """
    def nearest_branch(self, pose: Pose, seed: _Numbers) -> _Six:
        """The axis set of `branches` nearest to `seed`. To explain a refusal, never to move.

        Raises:
            UnreachableError, SingularError, FrameError.
        """
    def check_limits(self, axes: _Numbers) -> None:
        """Refuses axes (or hexapod legs) outside their limits, naming each one.

        Raises:
            LimitError.
            SingularError: limits are kept, but the legs of a hexapod do not hold it there.
        """
    def margins(self, axes: _Numbers) -> _Six:
        """Distance of each axis to the nearer end of its range, mm or degrees; negative outside."""
    def jacobian(self, axes: _Numbers) -> NDArray[np.float64]:
        """Geometric Jacobian (6, 6) at the table-top origin in the fixed frame.

        Rows: x, y, z in mm, then rotation about x, y, z in degrees; columns: per mm or per degree of the axes.
        """
    def singularity(self, axes: _Numbers) -> tuple[str, float]:
        """The nearest singularity in words, and its margin: 1 far away, 0 at it (a sine, or length over reach)."""
    def manipulability(self, axes: _Numbers, *, length_mm: float = 500.0) -> float:
        """|det J| with a radian counted as `length_mm`: dimensionless, 0 at a singularity (Yoshikawa).

        For a hexapod |det J| |det of leg_jacobian|: 0 where the legs do not hold the platform.
        """
    def leg_jacobian(self, axes: _Numbers) -> NDArray[np.float64]:
        """Change of a hexapod's legs per motion of its table top in the fixed frame, the base couch at rest: (6, 6).

        Rows: legs, mm; columns: per mm along x, y, z and per degree about x, y, z through the table-top origin, as the
        rows of `jacobian`. `leg_jacobian @ jacobian` is the change of the legs per axis.

        Raises:
            CoreError: the family has no legs.
        """
    def leg_lengths(self, axes: _Numbers) -> _Six:
        """Leg lengths of a hexapod (mm) with its base couch where it stands.

        Raises:
            CoreError: the family has no legs.
        """
    def leg_margins(self, axes: _Numbers) -> _Six:
        """Distance of each leg to the nearer end of its range, mm; negative outside.

        Raises:
            CoreError: the family has no legs.
        """
    def forward_from_legs(self, lengths_mm: _Numbers, seed: _Numbers | None = None) -> Pose:
        """Pose fixed <- table_top of a hexapod from leg lengths (mm), by Newton from `seed` (axes), else from neutral.

        Lengths outside the range of the legs are answered: a couch is where it is.

        Raises:
            NotConvergedError: 20 steps were not enough, another assembly of the legs was found, or one so near to a
                singularity of the legs that 1e-6 mm and 1e-9 rad cannot be promised.
            GeometryError: the family has no legs, or numbers that cannot be lengths.
        """
    def forward_from_legs_many(
        self, lengths_mm: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """`forward_from_legs` from neutral for lengths (n, 6): matrices (n, 4, 4), NaN where status (n,) is not 0.

        Raises:
            GeometryError: the family has no legs.
        """
    @property
    def base(self) -> Pose:
        """fixed <- base: where the chain begins."""
    @property
    def tool(self) -> Pose:
        """flange <- table_top: where the table top is bolted on."""
    @property
    def axis_map(self) -> tuple[_Six, _Six]:
        """Gains and zeros: joint of the model = gain * axis + zero, mm or degrees."""
    def with_mounts(self, base: Pose, tool: Pose) -> Couch:
        """The same couch with its foot (fixed <- base) and table top (flange <- table_top) elsewhere.

        Raises:
            FrameError: other frames.
        """
    def with_axis_map(self, gains: _Numbers, zeros: _Numbers) -> Couch:
        """The same couch with other gains (+1 or -1 within one percent) and zeros of its axes.

        Raises:
            GeometryError: a gain that is none.
        """
    def correction_window(
        self, axes: _Numbers, *, reach_mm: float = 50.0, reach_deg: float = 5.0
    ) -> list[tuple[float, float]]:
        """How far each of the six numbers of a correction can go alone from `axes`: (lowest, highest), mm or degrees.

        Searched outwards from zero up to the reach, every 0.5 mm and 0.05 degrees, then bisected.

        Raises:
            LimitError: the couch stands outside its limits.
        """
    @property
    def base_axes(self) -> tuple[float, float, float, float]:
        """Base couch of a hexapod: lateral, longitudinal, vertical (mm), rotation (deg).

        Raises:
            CoreError: the family has no base couch.
        """
    def with_base_axes(self, base_axes: _Numbers) -> Couch:
        """The same hexapod with its base couch elsewhere."""
    @property
    def dimensions(self) -> list[tuple[str, float]]:
        """Names and values of the chain's dimensions, units at the end of the name: what a calibration may correct.

        Joint centres of a hexapod are in the table-top frame at neutral (`base_1_x_mm` to `platform_6_z_mm`).
        """
    def with_dimensions(self, values: Sequence[float]) -> Couch:
        """The same couch with other dimensions, in the order of `dimensions`.

        Raises:
            GeometryError: another count, or dimensions that make no couch of this family.
        """
    def forward_many(self, axes: ArrayLike) -> NDArray[np.float64]:
        """Matrices (n, 4, 4) fixed <- table_top, mm, for axes (n, 6). The same numbers as `forward`, bit for bit.

        Raises:
            GeometryError: a row that cannot be axis values.
        """
    def jacobian_many(self, axes: ArrayLike) -> NDArray[np.float64]:
        """`jacobian` for axes (n, 6): (n, 6, 6), bit for bit.

        Raises:
            GeometryError: a row that cannot be axis values.
        """
    def margins_many(self, axes: ArrayLike) -> NDArray[np.float64]:
        """`margins` for axes (n, 6): (n, 6), mm or degrees.

        Raises:
            GeometryError: a row that cannot be axis values.
        """
    def leg_lengths_many(self, axes: ArrayLike) -> NDArray[np.float64]:
        """`leg_lengths` for axes (n, 6): (n, 6), mm.

        Raises:
            CoreError: the family has no legs.
            GeometryError: a row that cannot be axis values.
        """
    def leg_margins_many(self, axes: ArrayLike) -> NDArray[np.float64]:
        """`leg_margins` for axes (n, 6): (n, 6), mm.

        Raises:
            CoreError: the family has no legs.
            GeometryError: a row that cannot be axis values.
        """
    def singularity_many(self, axes: ArrayLike) -> tuple[list[str], NDArray[np.float64]]:
        """`singularity` for axes (n, 6): names and margins (n,).

        Raises:
            GeometryError: a row that cannot be axis values.
        """
    def manipulability_many(
        self, axes: ArrayLike, *, length_mm: float = 500.0
    ) -> NDArray[np.float64]:
        """`manipulability` for axes (n, 6) and one length: (n,).

        Raises:
            GeometryError: a row that cannot be axis values, or a length that is not positive.
        """
    def correction_window_many(
        self, axes: ArrayLike, *, reach_mm: float = 50.0, reach_deg: float = 5.0
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """`correction_window` for axes (n, 6): (n, 6, 2) lowest and highest, NaN where status (n,) is not 0.

        Raises:
            GeometryError: a row that cannot be axis values, or a reach that makes no sense.
        """
    def inverse_many(
        self, matrices_mm: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.uint8]]:
        """`inverse` for matrices (n, 4, 4): axes (n, b, 6) padded with NaN, counts (n,), status (n,).

        b is the most branches that the family has: 2 pedestal and hexapod, 8 arm, 4 scara.
        """
    def inverse_nearest_many(
        self, matrices_mm: ArrayLike, seed: _Numbers
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """`inverse_nearest` for matrices (n, 4, 4) and one seed: axes (n, 6), NaN where status (n,) is not 0."""

# --- imaging ---------------------------------------------------------------------------------------------------------

class ImagingInputError(CoreError):
    """A geometry, volume, image or setting that cannot be projected or registered; the message says which and why."""

@final
class PanelGeometry:
    """Source and flat panel of one exposure (`docs/conventions.md`). Immutable; lengths mm, angles degrees.

    In the fixed frame turned by Ry(source angle) the source stands at (source_lateral, source_longitudinal,
    SAD), the panel centre at (panel_lateral, panel_longitudinal, SAD - SID). Columns run along +Xg, rows
    along -Yg. The panel may be turned about its centre by Rz(panel_rotation) . Rx(panel_pitch) .
    Ry(panel_roll). `pixel_pitch_mm` is on the panel itself.
    """

    def __new__(
        cls,
        *,
        source_angle_deg: float,
        sad_mm: float,
        sid_mm: float,
        rows: int,
        cols: int,
        pixel_pitch_mm: float,
        panel_lateral_mm: float = 0.0,
        panel_longitudinal_mm: float = 0.0,
        panel_rotation_deg: float = 0.0,
        panel_pitch_deg: float = 0.0,
        panel_roll_deg: float = 0.0,
        source_lateral_mm: float = 0.0,
        source_longitudinal_mm: float = 0.0,
    ) -> PanelGeometry:
        """Raises ImagingInputError for numbers that describe no panel beyond the isocentre."""
    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
    @property
    def source_angle_deg(self) -> float: ...
    @property
    def sad_mm(self) -> float: ...
    @property
    def sid_mm(self) -> float: ...
    @property
    def pixel_pitch_mm(self) -> float: ...
    @property
    def panel_lateral_mm(self) -> float: ...
    @property
    def panel_longitudinal_mm(self) -> float: ...
    @property
    def panel_rotation_deg(self) -> float: ...
    @property
    def panel_pitch_deg(self) -> float: ...
    @property
    def panel_roll_deg(self) -> float: ...
    @property
    def source_lateral_mm(self) -> float: ...
    @property
    def source_longitudinal_mm(self) -> float: ...
    @property
    def source_mm(self) -> tuple[float, float, float]:
        """The focal spot in the fixed frame, mm."""
    def matrix(self) -> NDArray[np.float64]:
        """Projection matrix (3, 4): homogeneous fixed-frame points in mm to homogeneous (col, row, 1)."""
    def pixels_of(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Columns and rows (n, 2) of fixed-frame points (n, 3), pixel centres at integers; NaN behind the source."""

@final
class AttenuationVolume:
    """A CT as linear attenuation per mm in three resolutions, ready to be projected and registered. Immutable.

    `hu` is (slices, rows, cols) float32, C-contiguous; `patient_from_index` (4, 4) maps (col, row, slice) to
    the IEC patient frame, mm, with orthogonal columns. `curve` is (n, 2): HU and attenuation per mm,
    increasing. Voxels where `body` is False are empty.
    """

    def __new__(
        cls,
        hu: NDArray[np.float32],
        patient_from_index: ArrayLike,
        *,
        curve: ArrayLike | None = None,
        body: NDArray[np.bool_] | None = None,
    ) -> AttenuationVolume:
        """Raises ImagingInputError for a grid, values, a curve or a mask that cannot be projected."""
    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
    def project(
        self, geometry: PanelGeometry, fixed_from_patient: ArrayLike, *, exact: bool = False
    ) -> NDArray[np.float32]:
        """Line integrals (rows, cols), dimensionless. `exact` takes Siddon's method instead of the fast one.

        Raises:
            ImagingInputError: a pose that is not rigid, or a volume that is not between source and panel.
        """

class RegistrationCancelled(CoreError):
    """A registration or reconstruction was cancelled before it had an answer; nothing was found."""

@final
class CancelFlag:
    """A stop for a running registration or reconstruction, pulled from any thread."""

    def __new__(cls) -> CancelFlag: ...
    def cancel(self) -> None:
        """Ask for the end; it cannot be taken back. The running call raises before its next step."""
    @property
    def cancelled(self) -> bool: ...

@final
class RegistrationOutcome:
    """What a registration found; `igrt_hw.guidance.registration` makes a model of it."""

    @property
    def verdict(self) -> Literal["reliable", "doubtful", "refused"]: ...
    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Code and sentence."""
    @property
    def correction(self) -> list[float]:
        """Lateral, longitudinal, vertical mm; rotation, pitch, roll degrees; fixed frame about the isocentre."""
    @property
    def covariance(self) -> NDArray[np.float64]:
        """(6, 6), mm and degrees."""
    @property
    def residual_covariance(self) -> NDArray[np.float64]:
        """(6, 6), mm and degrees: what the residuals alone say, before the model error."""
    @property
    def fixed_from_patient(self) -> NDArray[np.float64]:
        """(4, 4), the estimated pose."""
    @property
    def target_sigma_mm(self) -> float: ...
    @property
    def target_bound_mm(self) -> float: ...
    @property
    def displacement(self) -> tuple[float, float]:
        """Distance (mm) and turn (degrees) from the nominal pose."""
    @property
    def similarity(self) -> list[float]: ...
    @property
    def foreign(self) -> list[float]:
        """Per view, the share of the model's contrast that lies where the image shows something else."""
    @property
    def overlap(self) -> list[float]: ...
    @property
    def scatter_share(self) -> list[float]:
        """Per view, the median share of scatter in the signal, as estimated."""
    @property
    def disagreement_mm(self) -> list[float]: ...
    @property
    def rival(self) -> tuple[float, float] | None:
        """Similarity as a share of the result's, and distance in mm, of the best start that ended elsewhere."""
    @property
    def iterations(self) -> int: ...
    @property
    def converged(self) -> bool: ...

def register_views(
    volume: AttenuationVolume,
    views: Sequence[tuple[PanelGeometry, NDArray[np.float32], NDArray[np.bool_] | None]],
    nominal: ArrayLike,
    planned: ArrayLike,
    *,
    free: Sequence[bool],
    limits: Sequence[float],
    level_offsets_mm: Sequence[float],
    target_mm: tuple[float, float, float],
    scatter: bool,
    prior_sigma: Sequence[float] = ...,
    model_error: Sequence[float] | None = None,
    geometry_motion: Sequence[Sequence[float]] | None = None,
    cancel: CancelFlag | None = None,
) -> RegistrationOutcome:
    """Register one to four views; `igrt_hw.guidance.registration.register` is the door to it. The GIL is released.

    Raises:
        ImagingInputError: images, geometries, poses or settings that do not fit together.
        RegistrationCancelled: `cancel` was pulled before there was an answer.
    """

# --- volumes ---------------------------------------------------------------------------------------------------------

def reconstruct_fdk(
    geometries: Sequence[PanelGeometry],
    projections: NDArray[np.float32],
    *,
    size: Sequence[int],
    spacing_mm: Sequence[float],
    centre_mm: Sequence[float],
    hann: float | None = None,
    cancel: CancelFlag | None = None,
) -> NDArray[np.float32]:
    """Attenuation per mm (slices, rows, cols) from line integrals (n, rows, cols) of a circular cone-beam scan.

    `size` is (cols, rows, slices), along +X, -Z and +Y of the fixed frame about `centre_mm`. The GIL is released.

    Raises:
        ImagingInputError: a scan that is too short, uneven or not circular; images that do not fit or hold no number.
        RegistrationCancelled: `cancel` was pulled.
    """

@final
class RigidOutcome:
    """What a registration of volumes found; `igrt_hw.guidance.volume_registration` makes a model of it."""

    @property
    def fixed_from_moving(self) -> NDArray[np.float64]:
        """(4, 4), rigid."""
    @property
    def covariance(self) -> NDArray[np.float64]:
        """(6, 6), mm and radians, of the small motion about the fixed world's origin by which the pose may be off."""
    @property
    def similarity(self) -> float: ...
    @property
    def overlap(self) -> float: ...
    @property
    def spread_hu(self) -> float: ...
    @property
    def intensity(self) -> tuple[float, float]:
        """Scale and shift from moving to fixed HU."""
    @property
    def iterations(self) -> int: ...
    @property
    def converged(self) -> bool: ...
    @property
    def reasons(self) -> list[str]:
        """Why it is not believed; empty when it is."""

def register_volumes(
    fixed_hu: NDArray[np.float32],
    fixed_world_from_index: ArrayLike,
    moving_hu: NDArray[np.float32],
    moving_world_from_index: ArrayLike,
    start: ArrayLike,
    *,
    displacement_max_mm: float = 80.0,
    cancel: CancelFlag | None = None,
) -> RigidOutcome:
    """Register volumes (slices, rows, cols) in HU rigidly, from `start` (fixed world <- moving world).

    NaN holds nothing.

    Raises:
        ImagingInputError: volumes that cannot be registered or do not overlap at the start.
        RegistrationCancelled: `cancel` was pulled.
    """

# --- clearance -------------------------------------------------------------------------------------------------------

class ClearanceInputError(CoreError):
    """A mesh, part, pose or motion that clearance cannot be computed for; the message says which and why."""

_Place = tuple[float, int, float, float, list[float], list[float]]

@final
class ClearanceRoom:
    """Parts on frames and the pairs of them that are measured; `igrt_hw.machine.room` is the door to it. Immutable.

    `parts`: (name, frame number, frame <- shape (4, 4) in mm, kind, shape). Shape by kind, mm: box (half x, half y,
    half z); cylinder, capsule (radius, half length along local z); hull points (n, 3); mesh (vertices (n, 3), triangles
    (m, 3) uint32, outward). `pairs`: part numbers.

    Raises:
        ClearanceInputError: a shape that is no solid, a mesh that is no closed outward surface, an unknown number.
    """

    def __new__(
        cls,
        frame_count: int,
        parts: Sequence[tuple[str, int, ArrayLike, str, Any]],
        pairs: Sequence[tuple[int, int]],
    ) -> ClearanceRoom: ...
    def separations(
        self, poses: ArrayLike, *, exact: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Every pair for poses fixed <- frame (frames, 4, 4): bounds (pairs, 2), witness points (pairs, 2, 3), mm.

        The truth lies between the bounds: 0.02 mm apart, or 1e-6 mm if `exact`. Below zero: depth of contact. Witness
        points lie in the fixed frame, that of the pair's first part first. The GIL is released.

        Raises:
            ClearanceInputError: a pose that is not rigid, or not one a frame.
        """
    def separations_many(
        self, poses: NDArray[np.float64], *, exact: bool = False
    ) -> NDArray[np.float64]:
        """Every pair for many sets of poses (n, frames, 4, 4), each measured by itself: bounds (n, pairs, 2), mm.

        Bounds as in `separations`. The GIL is released.

        Raises:
            ClearanceInputError: another shape, or a pose that is not rigid.
        """
    def sweep(
        self, motions: Sequence[ArrayLike], *, stations: int, tolerance_mm: float
    ) -> tuple[float, _Place | None, _Place | None, NDArray[np.float64], int]:
        """Certify a motion: one table of joints a frame, outermost first, for s from 0 to 1.

        Rows of 13 numbers: (0, twelve numbers of a constant pose), (1, axis, start and end angle in degrees, unused),
        (2, start offset, end offset in mm, unused). Returns the lower bound in mm (0 on contact), the nearest place and
        the first contact (s, pair, lower, upper, point on a, point on b), the profile (stations, 4) as rows of lower,
        upper, s, pair, and the number of distances measured. The GIL is released.

        Raises:
            ClearanceInputError: a joint that is none, or a question without an answer.
        """
    def map(
        self,
        drives: Sequence[tuple[Literal["row", "column", "both"], ArrayLike]],
        *,
        rows: int,
        columns: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """Lower bound of the scene's clearance (mm, 0 for contact) and nearest pair at every cell's middle.

        One drive a frame: the map axis that moves it and its motion as in `sweep`. Under "both" its joints of kind 1
        and 2 move with the rows, and those of kind 3 and 4 (the same numbers) with the columns. Cell (i, j) covers
        [i, i + 1] / rows by [j, j + 1] / columns. Both results (rows, columns). The GIL is released.
        """
    def floor_map(
        self,
        drives: Sequence[tuple[Literal["row", "column", "both"], ArrayLike]],
        *,
        rows: int,
        columns: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """What the clearance keeps everywhere inside each cell (mm), and by which pair.

        Zero where contact cannot be excluded. Certified by the joints' travel over the cell, as `certified_map` is.
        Both results (rows, columns).
        """
    def certified_map(
        self,
        drives: Sequence[tuple[Literal["row", "column", "both"], ArrayLike]],
        *,
        rows: int,
        columns: int,
        margin_mm: float,
    ) -> NDArray[np.uint8]:
        """What holds all over each cell (rows, columns): 1 clear by `margin_mm`, 2 contact, 0 neither was shown."""
    def pairs_map(
        self,
        drives: Sequence[tuple[Literal["row", "column", "both"], ArrayLike]],
        *,
        rows: int,
        columns: int,
    ) -> NDArray[np.float64]:
        """Lower bound of every pair at every cell's middle: (rows, columns, pairs), mm, 0 for contact."""
    def contact_map(
        self,
        drives: Sequence[tuple[Literal["row", "column", "both"], ArrayLike]],
        *,
        rows: int,
        columns: int,
        margin_mm: float,
    ) -> NDArray[np.bool_]:
        """Whether the clearance at every cell's middle is below `margin_mm` (0: contact): (rows, columns)."""
    @staticmethod
    def poses_at(motions: Sequence[ArrayLike], s: float) -> NDArray[np.float64]:
        """Poses fixed <- frame (n, 4, 4) of such motions at s."""

def draw_room(
    room: ClearanceRoom,
    poses: ArrayLike,
    camera: tuple[
        Sequence[float], Sequence[float], Sequence[float], Sequence[float], float, float | None
    ],
    size: tuple[int, int],
    hidden: Sequence[bool],
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float32]]:
    """Draw the parts at poses fixed <- frame (frames, 4, 4), one exact ray a pixel.

    `camera`: eye, right, up, towards (fixed frame, mm; the last three orthonormal), mm a pixel at the focus, distance
    of the focus in mm or None for parallel rays. `size`: width, height. `hidden`: parts that are left out, by number.
    Returns part numbers plus one (0: nothing), brightness 0 to 255, depth along the ray in mm; each (height, width),
    row 0 at the top. The GIL is released; one thread.

    Raises:
        ClearanceInputError: a pose that is not rigid, a camera that is none, a picture without or with too many pixels.
    """
