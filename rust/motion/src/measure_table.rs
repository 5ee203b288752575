//! What is asked of many axis sets at once: Jacobians, margins, singularities, windows. Each row is the single call.

use crate::batch::Outcome;
use crate::couch::{Couch, Singularity, check_length};
use crate::error::{MotionError, geometry};
use crate::window::check_reach;

/// Windows of corrections, row by row.
#[derive(Clone, Debug, Default)]
pub struct WindowTable {
    /// Lowest and highest of the six numbers (mm, radians); not a number in a refused row.
    pub windows: Vec<[(f64, f64); 6]>,
    /// What became of the row.
    pub outcomes: Vec<Outcome>,
}

impl Couch {
    /// [`Couch::jacobian`] for many axis sets.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values.
    pub fn jacobian_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<[[f64; 6]; 6]>, MotionError> {
        self.check_rows(axes)?;
        axes.iter().map(|row| self.jacobian(row)).collect()
    }

    /// [`Couch::margins`] for many axis sets.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values.
    pub fn margins_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<[f64; 6]>, MotionError> {
        self.check_rows(axes)?;
        Ok(axes.iter().map(|row| self.margins(row)).collect())
    }

    /// [`Couch::leg_lengths`] for many axis sets.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values, or for a couch without legs.
    pub fn leg_lengths_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<[f64; 6]>, MotionError> {
        self.legs_of_rows(axes, |row| self.leg_lengths(row))
    }

    /// [`Couch::leg_margins`] for many axis sets.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values, or for a couch without legs.
    pub fn leg_margins_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<[f64; 6]>, MotionError> {
        self.legs_of_rows(axes, |row| self.leg_margins(row))
    }

    /// [`Couch::singularity`] for many axis sets.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values.
    pub fn singularity_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<Singularity>, MotionError> {
        self.check_rows(axes)?;
        Ok(axes.iter().map(|row| self.singularity(row)).collect())
    }

    /// [`Couch::manipulability`] for many axis sets and one length.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a length that is not positive, or with the row of numbers that cannot be axis values.
    pub fn manipulability_batch(
        &self,
        axes: &[[f64; 6]],
        length_mm: f64,
    ) -> Result<Vec<f64>, MotionError> {
        check_length(length_mm)?;
        self.check_rows(axes)?;
        let one = |row| self.manipulability(row, length_mm);
        axes.iter().map(one).collect()
    }

    /// [`Couch::correction_window`] for many axis sets and one reach; a row outside its limits is refused alone.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a reach that makes no sense, or with the row of numbers that cannot be axis values.
    pub fn correction_window_batch(
        &self,
        axes: &[[f64; 6]],
        reach_mm: f64,
        reach_rad: f64,
    ) -> Result<WindowTable, MotionError> {
        check_reach(reach_mm, reach_rad)?;
        self.check_rows(axes)?;
        let mut table = WindowTable::default();
        for row in axes {
            let found = self.correction_window(row, reach_mm, reach_rad);
            table
                .outcomes
                .push(found.as_ref().map_or_else(Outcome::from, |_| Outcome::Ok));
            table
                .windows
                .push(found.unwrap_or([(f64::NAN, f64::NAN); 6]));
        }
        Ok(table)
    }

    fn legs_of_rows(
        &self,
        axes: &[[f64; 6]],
        legs: impl Fn(&[f64; 6]) -> Option<[f64; 6]>,
    ) -> Result<Vec<[f64; 6]>, MotionError> {
        self.check_rows(axes)?;
        match axes.iter().map(legs).collect() {
            Some(found) if self.has_legs() => Ok(found),
            _ => geometry(format!(
                "a couch of family {} has no legs",
                self.family_name()
            )),
        }
    }
}
