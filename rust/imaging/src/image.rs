//! Small image operations of the registration: binning, smoothed gradients, window sums. Images are row-major f32.

/// Rows and columns of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub rows: usize,
    pub cols: usize,
}

impl Shape {
    pub fn pixels(self) -> usize {
        self.rows * self.cols
    }
}

/// Half width of the gradient filter: this many pixels at each edge carry no gradient.
pub(crate) const GRADIENT_EDGE: usize = 2;

/// Mean of `n` x `n` blocks; rows and columns left over are dropped. A block is valid when every pixel of it is.
#[allow(
    clippy::indexing_slicing,
    reason = "blocks lie inside the image by construction of the smaller shape"
)]
pub(crate) fn binned(
    image: &[f32],
    valid: &[bool],
    shape: Shape,
    n: usize,
) -> (Vec<f32>, Vec<bool>, Shape) {
    let small = Shape {
        rows: shape.rows / n,
        cols: shape.cols / n,
    };
    let mut out = vec![0f32; small.pixels()];
    let mut ok = vec![true; small.pixels()];
    let scale = 1.0 / (n * n) as f32;
    for row in 0..small.rows {
        for dy in 0..n {
            let start = (row * n + dy) * shape.cols;
            let pixels = image[start..start + small.cols * n].chunks_exact(n);
            let flags = valid[start..start + small.cols * n].chunks_exact(n);
            let at = row * small.cols..(row + 1) * small.cols;
            for (((o, k), p), f) in out[at.clone()]
                .iter_mut()
                .zip(&mut ok[at])
                .zip(pixels)
                .zip(flags)
            {
                *o += scale * p.iter().sum::<f32>();
                *k &= f.iter().all(|&x| x);
            }
        }
    }
    (out, ok, small)
}

/// Pixels all of whose neighbours within `reach` are valid and inside the image.
#[allow(
    clippy::indexing_slicing,
    reason = "neighbours are inside by the loop bounds"
)]
pub(crate) fn eroded(valid: &[bool], shape: Shape, reach: usize) -> Vec<bool> {
    let mut across = vec![false; shape.pixels()];
    let mut out = vec![false; shape.pixels()];
    if shape.cols <= 2 * reach || shape.rows <= 2 * reach {
        return out;
    }
    for row in 0..shape.rows {
        for col in reach..shape.cols - reach {
            let at = row * shape.cols + col;
            across[at] = valid[at - reach..=at + reach].iter().all(|&x| x);
        }
    }
    for row in reach..shape.rows - reach {
        for col in 0..shape.cols {
            out[row * shape.cols + col] =
                (row - reach..=row + reach).all(|r| across[r * shape.cols + col]);
        }
    }
    out
}

/// Gradient per pixel along columns and rows, smoothed by a binomial of five: `[1 4 6 4 1] / 16` across, `[-1 -2 0 2 1] / 8` along.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gradient {
    pub along_cols: Vec<f32>,
    pub along_rows: Vec<f32>,
}

impl Gradient {
    /// Fill from an image; the outermost [`GRADIENT_EDGE`] pixels are zero.
    pub fn fill(&mut self, image: &[f32], shape: Shape, scratch: &mut Vec<f32>) {
        let n = shape.pixels();
        self.along_cols.clear();
        self.along_cols.resize(n, 0.0);
        self.along_rows.clear();
        self.along_rows.resize(n, 0.0);
        if shape.rows < 5 || shape.cols < 5 {
            return;
        }
        scratch.clear();
        scratch.resize(2 * n, 0.0);
        let (smooth, slope) = scratch.split_at_mut(n);
        for ((row, s), d) in image
            .chunks_exact(shape.cols)
            .zip(smooth.chunks_exact_mut(shape.cols))
            .zip(slope.chunks_exact_mut(shape.cols))
        {
            filter_row(row, s, d);
        }
        filter_columns(
            smooth,
            slope,
            shape,
            &mut self.along_cols,
            &mut self.along_rows,
        );
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "windows of five; outputs two pixels in"
)]
fn filter_row(row: &[f32], smooth: &mut [f32], slope: &mut [f32]) {
    let inner = row.len() - 4;
    let (a, b, c, d, e) = (
        &row[..inner],
        &row[1..inner + 1],
        &row[2..inner + 2],
        &row[3..inner + 3],
        &row[4..inner + 4],
    );
    let (smooth, slope) = (&mut smooth[2..inner + 2], &mut slope[2..inner + 2]);
    for x in 0..inner {
        smooth[x] = (a[x] + e[x] + 4.0 * (b[x] + d[x]) + 6.0 * c[x]) * (1.0 / 16.0);
        slope[x] = (e[x] - a[x] + 2.0 * (d[x] - b[x])) * (1.0 / 8.0);
    }
}

#[allow(clippy::indexing_slicing, reason = "five rows around each inner row")]
fn filter_columns(
    smooth: &[f32],
    slope: &[f32],
    shape: Shape,
    along_cols: &mut [f32],
    along_rows: &mut [f32],
) {
    let w = shape.cols;
    for row in 2..shape.rows - 2 {
        let at = |r: usize| r * w..(r + 1) * w;
        let d: [&[f32]; 5] = std::array::from_fn(|k| &slope[at(row + k - 2)]);
        let s: [&[f32]; 5] = std::array::from_fn(|k| &smooth[at(row + k - 2)]);
        let (gc, gr) = (&mut along_cols[at(row)], &mut along_rows[at(row)]);
        for x in 2..w - 2 {
            gc[x] = (d[0][x] + d[4][x] + 4.0 * (d[1][x] + d[3][x]) + 6.0 * d[2][x]) * (1.0 / 16.0);
            gr[x] = (s[4][x] - s[0][x] + 2.0 * (s[3][x] - s[1][x])) * (1.0 / 8.0);
        }
    }
}

/// Central differences, one pixel apart on each side; zero at the edge of the image.
#[allow(clippy::indexing_slicing, reason = "neighbours of inner pixels")]
pub(crate) fn central_differences(
    image: &[f32],
    shape: Shape,
    along_cols: &mut Vec<f32>,
    along_rows: &mut Vec<f32>,
) {
    let (n, w) = (shape.pixels(), shape.cols);
    along_cols.clear();
    along_cols.resize(n, 0.0);
    along_rows.clear();
    along_rows.resize(n, 0.0);
    for row in 1..shape.rows.saturating_sub(1) {
        let (above, here, below) = (
            &image[(row - 1) * w..row * w],
            &image[row * w..(row + 1) * w],
            &image[(row + 1) * w..(row + 2) * w],
        );
        let (gc, gr) = (
            &mut along_cols[row * w..(row + 1) * w],
            &mut along_rows[row * w..(row + 1) * w],
        );
        for x in 1..w.saturating_sub(1) {
            gc[x] = 0.5 * (here[x + 1] - here[x - 1]);
            gr[x] = 0.5 * (below[x] - above[x]);
        }
    }
}

/// Sums over square windows of `2 reach + 1` pixels, cut at the image edge, in place.
#[allow(
    clippy::indexing_slicing,
    reason = "running sums over rows and columns of the image"
)]
pub(crate) fn window_sums(image: &mut [f32], shape: Shape, reach: usize, scratch: &mut Vec<f32>) {
    let (rows, cols) = (shape.rows, shape.cols);
    scratch.clear();
    scratch.resize(shape.pixels(), 0.0);
    for (row, out) in image.chunks_exact(cols).zip(scratch.chunks_exact_mut(cols)) {
        let mut sum: f64 = row.iter().take(reach).map(|&x| f64::from(x)).sum();
        for x in 0..cols {
            if x + reach < cols {
                sum += f64::from(row[x + reach]);
            }
            if x > reach {
                sum -= f64::from(row[x - reach - 1]);
            }
            out[x] = sum as f32;
        }
    }
    let mut sums = vec![0f64; cols];
    for row in 0..reach.min(rows) {
        for (s, &x) in sums.iter_mut().zip(&scratch[row * cols..(row + 1) * cols]) {
            *s += f64::from(x);
        }
    }
    for row in 0..rows {
        if row + reach < rows {
            for (s, &x) in sums
                .iter_mut()
                .zip(&scratch[(row + reach) * cols..(row + reach + 1) * cols])
            {
                *s += f64::from(x);
            }
        }
        if row > reach {
            for (s, &x) in sums
                .iter_mut()
                .zip(&scratch[(row - reach - 1) * cols..(row - reach) * cols])
            {
                *s -= f64::from(x);
            }
        }
        for (o, s) in image[row * cols..(row + 1) * cols].iter_mut().zip(&sums) {
            *o = *s as f32;
        }
    }
}
