//! Projection geometry in the terms of IEC 61217: where the source stands and where each pixel lies, in the fixed frame.

use nalgebra::{Matrix3, Matrix3x4, Point3, Rotation3, Vector3};

use crate::error::{ImagingError, Result};

/// A flat panel opposite a point source on a ring about the isocentre.
///
/// At source angle `a` the gantry frame is the fixed frame turned by `Ry(a)`. The source stands at
/// `(source_lateral, source_longitudinal, SAD)` and the panel centre at
/// `(panel_lateral, panel_longitudinal, SAD - SID)` of that frame. Columns run along +Xg, rows along -Yg.
/// The panel may be turned about its own centre by `Rz(rotation) . Rx(pitch) . Ry(roll)` of the gantry frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PanelGeometry {
    /// Source angle, degrees, clockwise for someone facing the gantry.
    pub source_angle_deg: f64,
    /// Source to isocentre distance, mm.
    pub sad_mm: f64,
    /// Source to panel distance, mm.
    pub sid_mm: f64,
    /// Panel centre along +Xg, mm.
    pub panel_lateral_mm: f64,
    /// Panel centre along +Yg, mm.
    pub panel_longitudinal_mm: f64,
    /// Panel turned about the beam axis Zg, degrees.
    pub panel_rotation_deg: f64,
    /// Panel tilted about Xg, degrees.
    pub panel_pitch_deg: f64,
    /// Panel tilted about Yg, degrees.
    pub panel_roll_deg: f64,
    /// Source displaced along +Xg, mm (flex).
    pub source_lateral_mm: f64,
    /// Source displaced along +Yg, mm (flex).
    pub source_longitudinal_mm: f64,
    /// Pixel rows.
    pub rows: usize,
    /// Pixel columns.
    pub cols: usize,
    /// Size of one (binned) pixel on the panel itself, mm.
    pub pixel_pitch_mm: f64,
}

/// Source point and pixel rays of one exposure, in the fixed frame, mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// The focal spot.
    pub source: Point3<f64>,
    /// Centre of the pixel at row 0, column 0.
    pub first_pixel: Point3<f64>,
    /// From one column to the next.
    pub col_step: Vector3<f64>,
    /// From one row to the next.
    pub row_step: Vector3<f64>,
    /// Pixel rows.
    pub rows: usize,
    /// Pixel columns.
    pub cols: usize,
}

/// Largest image side accepted: a 43 cm panel at 0.139 mm has 3072, and a limit keeps a wrong unit from exhausting memory.
pub const IMAGE_SIDE_MAX: usize = 8192;

impl PanelGeometry {
    fn check(&self) -> Result<()> {
        let numbers = [
            self.source_angle_deg,
            self.sad_mm,
            self.sid_mm,
            self.panel_lateral_mm,
            self.panel_longitudinal_mm,
            self.panel_rotation_deg,
            self.panel_pitch_deg,
            self.panel_roll_deg,
            self.source_lateral_mm,
            self.source_longitudinal_mm,
            self.pixel_pitch_mm,
        ];
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(ImagingError::Geometry(
                "every length and angle must be finite".into(),
            ));
        }
        if self.sad_mm <= 0.0 || self.sid_mm <= self.sad_mm {
            return Err(ImagingError::Geometry(format!(
                "the panel must lie beyond the isocentre: SAD {} mm, SID {} mm",
                self.sad_mm, self.sid_mm
            )));
        }
        if self.pixel_pitch_mm <= 0.0 {
            return Err(ImagingError::Geometry(format!(
                "pixel pitch must be positive, is {} mm",
                self.pixel_pitch_mm
            )));
        }
        if self.panel_pitch_deg.abs() > 60.0 || self.panel_roll_deg.abs() > 60.0 {
            return Err(ImagingError::Geometry(
                "a panel tilted by more than 60 deg sees the beam edge on".into(),
            ));
        }
        Ok(())
    }

    /// The source point and pixel rays in the fixed frame.
    ///
    /// # Errors
    /// `Geometry` when a number is not finite, the panel is not beyond the isocentre, or the image has no pixels.
    pub fn projection(&self) -> Result<Projection> {
        self.check()?;
        let fixed_from_gantry =
            Rotation3::from_axis_angle(&Vector3::y_axis(), self.source_angle_deg.to_radians());
        let turned =
            Rotation3::from_axis_angle(&Vector3::z_axis(), self.panel_rotation_deg.to_radians())
                * Rotation3::from_axis_angle(&Vector3::x_axis(), self.panel_pitch_deg.to_radians())
                * Rotation3::from_axis_angle(&Vector3::y_axis(), self.panel_roll_deg.to_radians());
        let col_step = fixed_from_gantry * (turned * Vector3::new(self.pixel_pitch_mm, 0.0, 0.0));
        let row_step = fixed_from_gantry * (turned * Vector3::new(0.0, -self.pixel_pitch_mm, 0.0));
        let centre = fixed_from_gantry
            * Point3::new(
                self.panel_lateral_mm,
                self.panel_longitudinal_mm,
                self.sad_mm - self.sid_mm,
            );
        let half_cols = (self.cols as f64 - 1.0) / 2.0;
        let half_rows = (self.rows as f64 - 1.0) / 2.0;
        Projection {
            source: fixed_from_gantry
                * Point3::new(
                    self.source_lateral_mm,
                    self.source_longitudinal_mm,
                    self.sad_mm,
                ),
            first_pixel: centre - col_step * half_cols - row_step * half_rows,
            col_step,
            row_step,
            rows: self.rows,
            cols: self.cols,
        }
        .checked()
    }
}

impl Projection {
    /// The same projection, if rays can be cast through it.
    ///
    /// # Errors
    /// `Geometry` when the image has no pixels or too many, or the source lies in the panel's plane.
    pub fn checked(self) -> Result<Self> {
        if self.rows == 0
            || self.cols == 0
            || self.rows > IMAGE_SIDE_MAX
            || self.cols > IMAGE_SIDE_MAX
        {
            return Err(ImagingError::Geometry(format!(
                "image of {} rows x {} columns; each must be 1 to {IMAGE_SIDE_MAX}",
                self.rows, self.cols
            )));
        }
        self.pixel_from_ray()?;
        Ok(self)
    }

    /// From the source to the centre of the pixel at row 0, column 0.
    #[must_use]
    pub fn first_ray(&self) -> Vector3<f64> {
        self.first_pixel - self.source
    }

    /// From the source to a pixel centre; fractions of a pixel are meant.
    #[must_use]
    pub fn ray(&self, col: f64, row: f64) -> Vector3<f64> {
        self.first_ray() + self.col_step * col + self.row_step * row
    }

    /// Inverse of `[col_step row_step first_ray]`: a vector from the source becomes `(col w, row w, w)`.
    ///
    /// # Errors
    /// `Geometry` when the source lies in the panel's plane.
    pub fn pixel_from_ray(&self) -> Result<Matrix3<f64>> {
        Matrix3::from_columns(&[self.col_step, self.row_step, self.first_ray()])
            .try_inverse()
            .filter(|m| m.iter().all(|x| x.is_finite()))
            .ok_or_else(|| {
                ImagingError::Geometry("the source lies in the plane of the panel".into())
            })
    }

    /// The 3 x 4 projection matrix: fixed-frame point in mm to homogeneous `(col, row, 1)`, pixel centres at integers.
    ///
    /// # Errors
    /// `Geometry` when the source lies in the panel's plane.
    pub fn matrix(&self) -> Result<Matrix3x4<f64>> {
        let m = self.pixel_from_ray()?;
        let t = -(m * self.source.coords);
        Ok(Matrix3x4::from_columns(&[
            m.column(0).into_owned(),
            m.column(1).into_owned(),
            m.column(2).into_owned(),
            t,
        ]))
    }

    /// Column and row on which a fixed-frame point is projected; `None` behind the source.
    #[must_use]
    pub fn pixel_of(&self, point: &Point3<f64>) -> Option<(f64, f64)> {
        let h = self.pixel_from_ray().ok()? * (point - self.source);
        (h.z > 1e-9).then(|| (h.x / h.z, h.y / h.z))
    }

    /// The projection of the image averaged over `n` x `n` pixels; rows and columns left over are dropped.
    #[must_use]
    pub fn binned(&self, n: usize) -> Self {
        let n = n.max(1);
        let shift = (n as f64 - 1.0) / 2.0;
        Projection {
            source: self.source,
            first_pixel: self.first_pixel + (self.col_step + self.row_step) * shift,
            col_step: self.col_step * n as f64,
            row_step: self.row_step * n as f64,
            rows: self.rows / n,
            cols: self.cols / n,
        }
    }
}
