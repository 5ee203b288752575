//! Six equations with six unknowns.

use crate::limits::AXES;

/// Solves `columns . x = right` by elimination with row pivots; `None` when it is singular.
#[allow(
    clippy::indexing_slicing,
    reason = "fixed 6 x 6 elimination; every index is below AXES by its range"
)]
pub fn solved(columns: &[[f64; AXES]; AXES], right: &[f64; AXES]) -> Option<[f64; AXES]> {
    let mut rows = [[0.0; AXES + 1]; AXES];
    for (r, row) in rows.iter_mut().enumerate() {
        for (c, column) in columns.iter().enumerate() {
            row[c] = column[r];
        }
        row[AXES] = right[r];
    }
    for k in 0..AXES {
        let pivot = (k..AXES).max_by(|a, b| rows[*a][k].abs().total_cmp(&rows[*b][k].abs()))?;
        rows.swap(k, pivot);
        let top = rows[k];
        if top[k].abs() < 1e-12 {
            return None;
        }
        for row in rows.iter_mut().skip(k + 1) {
            let factor = row[k] / top[k];
            for (value, above) in row.iter_mut().zip(&top).skip(k) {
                *value -= factor * above;
            }
        }
    }
    let mut solution = [0.0; AXES];
    for k in (0..AXES).rev() {
        let known: f64 = (k + 1..AXES).map(|c| rows[k][c] * solution[c]).sum();
        solution[k] = (rows[k][AXES] - known) / rows[k][k];
    }
    Some(solution)
}
