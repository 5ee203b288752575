//! Maps: the clearance over two axes at once, and which of its cells are clear everywhere inside.
//!
//! Along a column of cells the poses change little from one to the next. So the leaf that held the nearest point is searched
//! first, the pair that was nearest before is measured first, and a pair is not measured at all while the motion since it was
//! last measured cannot have brought it below the nearest one.

use rayon::prelude::*;

use super::certify::Verdict;
use super::chain::{Chain, Joint};
use super::couple::{Asked, Block, Couple};
use super::error::ClearanceError;
use super::linkage::{EVERYWHERE, MapAxis, Stepped};
use super::rigid::Rigid;
use super::room::{Precision, Room};
use super::search::Scratch;
use super::sweep::CONTACT_MM;
use super::tree::Child;

/// The most cells a map may have.
pub const CELLS_MAX: usize = 16_000_000;

/// The most cells along one axis: poses are kept for every half cell.
pub const AXIS_CELLS_MAX: usize = 20_000;

/// Which axis of the map drives a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Drive {
    /// It moves with the row axis (s from 0 to 1 over the map) or stands still.
    Row(Chain),
    /// It moves with the column axis.
    Column(Chain),
    /// Some of its joints move with the one axis and some with the other; outermost first.
    Both(Vec<(MapAxis, Joint)>),
}

impl Drive {
    fn joints(&self) -> Vec<(MapAxis, Joint)> {
        let all = |axis, chain: &Chain| chain.joints.iter().map(|joint| (axis, *joint)).collect();
        match self {
            Self::Row(chain) => all(MapAxis::Row, chain),
            Self::Column(chain) => all(MapAxis::Column, chain),
            Self::Both(joints) => joints.clone(),
        }
    }

    /// `fixed <- frame` where the rows are at `u` and the columns at `v`.
    #[must_use]
    pub fn pose(&self, u: f64, v: f64) -> Rigid {
        self.joints()
            .iter()
            .fold(Rigid::identity(), |pose, (axis, joint)| {
                pose.then(&joint.at(match axis {
                    MapAxis::Row => u,
                    MapAxis::Column => v,
                }))
            })
    }
}

/// Rows and columns of a map. Cell (i, j) covers [i, i+1] / rows by [j, j+1] / columns; its middle is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
}

/// A measured cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapCell {
    /// At the middle of the cell the clearance is at least this, mm; zero for contact.
    pub lower_mm: f64,
    /// Number of the nearest pair.
    pub pair: u32,
}

/// What is certain of a whole cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CellState {
    /// Neither of the others was shown.
    Open = 0,
    /// The clearance is at least the margin everywhere in the cell.
    Clear = 1,
    /// There is contact everywhere in the cell.
    Contact = 2,
}

/// What is certain of the inside of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellFloor {
    /// Everywhere in the cell the clearance is at least this, mm; zero where contact could not be excluded.
    pub lower_mm: f64,
    /// Number of the pair that may come so near.
    pub pair: u32,
}

/// A pair with everything that a map asks of it again and again.
struct Track<'a> {
    number: usize,
    couple: Couple<'a>,
    /// `target <- tree origin` at every half cell.
    stepped: Stepped,
    /// How fast the distance can change along the rows, mm per row.
    row_speed: f64,
    /// And along the columns, mm per column.
    column_speed: f64,
}

impl Room {
    /// The clearance of the whole scene at the middle of every cell, row by row. Columns are computed in parallel; the
    /// result does not depend on how many at once.
    pub fn map(
        &self,
        drives: &[Drive],
        grid: Grid,
        precision: Precision,
    ) -> Result<Vec<MapCell>, ClearanceError> {
        let mapper = Mapper::new(self, drives, grid, precision)?;
        let columns: Vec<Vec<MapCell>> = (0..grid.columns)
            .into_par_iter()
            .map(|column| mapper.column(column))
            .collect();
        Ok(by_rows(&columns, grid))
    }

    /// The clearance of every pair at the middle of every cell: for each cell, row by row, the pairs in their order, mm.
    pub fn pairs_map(
        &self,
        drives: &[Drive],
        grid: Grid,
        precision: Precision,
    ) -> Result<Vec<f64>, ClearanceError> {
        let mapper = Mapper::new(self, drives, grid, precision)?;
        let columns: Vec<Vec<Vec<f64>>> = (0..grid.columns)
            .into_par_iter()
            .map(|column| mapper.pairs_column(column))
            .collect();
        Ok(by_rows(&columns, grid).into_iter().flatten().collect())
    }

    /// Whether the clearance at the middle of every cell is below `margin_mm` (zero: contact), row by row.
    pub fn contact_map(
        &self,
        drives: &[Drive],
        grid: Grid,
        margin_mm: f64,
        precision: Precision,
    ) -> Result<Vec<bool>, ClearanceError> {
        check_margin(margin_mm)?;
        let mapper = Mapper::new(self, drives, grid, precision)?;
        let columns: Vec<Vec<bool>> = (0..grid.columns)
            .into_par_iter()
            .map(|column| mapper.contact_column(column, margin_mm))
            .collect();
        Ok(by_rows(&columns, grid))
    }

    /// A lower bound of the clearance that holds everywhere inside every cell, row by row, by the joints' travel in it.
    pub fn floor_map(
        &self,
        drives: &[Drive],
        grid: Grid,
        precision: Precision,
    ) -> Result<Vec<CellFloor>, ClearanceError> {
        let mapper = Mapper::new(self, drives, grid, precision)?;
        let columns: Vec<Vec<CellFloor>> = (0..grid.columns)
            .into_par_iter()
            .map(|column| mapper.floor_column(column))
            .collect();
        Ok(by_rows(&columns, grid))
    }

    /// What is certain of every cell as a whole, row by row: blocks of cells are certified together and cut where they
    /// are not, down to single cells.
    pub fn certified_map(
        &self,
        drives: &[Drive],
        grid: Grid,
        margin_mm: f64,
        precision: Precision,
    ) -> Result<Vec<CellState>, ClearanceError> {
        check_margin(margin_mm)?;
        let mapper = Mapper::new(self, drives, grid, precision)?;
        let strips: Vec<Vec<Patch>> = (0..grid.columns.div_ceil(ROOT_CELLS))
            .into_par_iter()
            .map(|strip| mapper.certified_strip(strip * ROOT_CELLS, margin_mm))
            .collect();
        let mut states = vec![CellState::Open; grid.rows * grid.columns];
        for block in strips.iter().flatten() {
            for row in states
                .chunks_exact_mut(grid.columns)
                .take(block.rows.1)
                .skip(block.rows.0)
            {
                if let Some(cells) = row.get_mut(block.columns.0..block.columns.1) {
                    cells.fill(block.state);
                }
            }
        }
        Ok(states)
    }
}

fn check_margin(margin_mm: f64) -> Result<(), ClearanceError> {
    if (0.0..=5_000.0).contains(&margin_mm) {
        return Ok(());
    }
    Err(ClearanceError::Question(format!(
        "a margin of {margin_mm} mm; ask for 0 to 5000"
    )))
}

fn by_rows<T: Clone>(columns: &[Vec<T>], grid: Grid) -> Vec<T> {
    (0..grid.rows)
        .flat_map(|row| {
            columns
                .iter()
                .filter_map(move |column| column.get(row).cloned())
        })
        .collect()
}

/// Blocks start with this many cells a side.
const ROOT_CELLS: usize = 64;

/// Cells from the first to before the last, in rows and columns.
struct Patch {
    rows: (usize, usize),
    columns: (usize, usize),
    state: CellState,
}

struct Mapper<'a> {
    grid: Grid,
    precision: Precision,
    tracks: Vec<Track<'a>>,
}

impl<'a> Mapper<'a> {
    fn new(
        room: &'a Room,
        drives: &[Drive],
        grid: Grid,
        precision: Precision,
    ) -> Result<Self, ClearanceError> {
        if drives.len() != room.frame_count() {
            return Err(ClearanceError::Question(format!(
                "{} motions were given for {} frames",
                drives.len(),
                room.frame_count()
            )));
        }
        let Grid { rows, columns } = grid;
        let axes = 1..=AXIS_CELLS_MAX;
        if !axes.contains(&rows)
            || !axes.contains(&columns)
            || rows.saturating_mul(columns) > CELLS_MAX
        {
            return Err(ClearanceError::Question(format!(
                "a map of {rows} x {columns} cells; ask for 1 to {AXIS_CELLS_MAX} along an axis and {CELLS_MAX} in all"
            )));
        }
        let joints: Vec<Vec<(MapAxis, Joint)>> = drives.iter().map(Drive::joints).collect();
        let tracks = (0..room.pairs().len())
            .filter_map(|number| track(room, &joints, grid, number))
            .collect();
        Ok(Self {
            grid,
            precision,
            tracks,
        })
    }

    /// A pair at the middle of a cell, as far as it is nearer than `below`.
    #[inline]
    fn ask(
        &self,
        track: &Track,
        (row, column): (usize, usize),
        below: f64,
        hint: Option<u32>,
        scratch: &mut Scratch,
    ) -> Asked {
        let pose = track.stepped.pose(2 * row + 1, 2 * column + 1);
        let precision = self.precision;
        track.couple.ask(&pose, below, hint, precision, scratch)
    }

    fn column(&self, column: usize) -> Vec<MapCell> {
        let count = self.tracks.len();
        let mut scratch = Scratch::default();
        let mut hints: Vec<Option<u32>> = vec![None; count];
        // What every pair is still known to keep, after the motion since it was measured.
        let mut keeps = vec![f64::NEG_INFINITY; count];
        let mut first = 0;
        let mut cells = Vec::with_capacity(self.grid.rows);
        for row in 0..self.grid.rows {
            for (keep, track) in keeps.iter_mut().zip(&self.tracks) {
                *keep -= track.row_speed;
            }
            let mut best = (f64::INFINITY, f64::INFINITY, first);
            let others = (0..count).filter(|&at| at != first);
            for at in std::iter::once(first).chain(others) {
                let (Some(track), Some(keep), Some(hint)) =
                    (self.tracks.get(at), keeps.get_mut(at), hints.get_mut(at))
                else {
                    continue;
                };
                if *keep >= best.1 {
                    best.0 = best.0.min(*keep);
                    continue;
                }
                let asked = self.ask(track, (row, column), best.1, *hint, &mut scratch);
                (*keep, *hint) = (asked.lower, asked.leaf);
                best.0 = best.0.min(asked.lower);
                if asked.upper < best.1 {
                    (best.1, best.2) = (asked.upper, at);
                }
                if best.1 <= 0.0 {
                    break;
                }
            }
            first = best.2;
            let pair = self
                .tracks
                .get(first)
                .map_or(0, |track| track.number as u32);
            cells.push(MapCell {
                lower_mm: best.0.max(0.0),
                pair,
            });
        }
        cells
    }

    fn pairs_column(&self, column: usize) -> Vec<Vec<f64>> {
        let mut scratch = Scratch::default();
        let mut hints: Vec<Option<u32>> = vec![None; self.tracks.len()];
        (0..self.grid.rows)
            .map(|row| {
                let mut cell = Vec::with_capacity(self.tracks.len());
                for (track, hint) in self.tracks.iter().zip(&mut hints) {
                    let at = (row, column);
                    let asked = self.ask(track, at, f64::INFINITY, *hint, &mut scratch);
                    *hint = asked.leaf;
                    cell.push(asked.lower);
                }
                cell
            })
            .collect()
    }

    fn contact_column(&self, column: usize, margin_mm: f64) -> Vec<bool> {
        let count = self.tracks.len();
        let mut scratch = Scratch::default();
        let mut hints: Vec<Option<u32>> = vec![None; count];
        let mut keeps = vec![f64::NEG_INFINITY; count];
        let mut first = 0;
        let below = margin_mm + CONTACT_MM;
        (0..self.grid.rows)
            .map(|row| {
                for (keep, track) in keeps.iter_mut().zip(&self.tracks) {
                    *keep -= track.row_speed;
                }
                let others = (0..count).filter(|&at| at != first);
                for at in std::iter::once(first).chain(others) {
                    let (Some(track), Some(keep), Some(hint)) =
                        (self.tracks.get(at), keeps.get_mut(at), hints.get_mut(at))
                    else {
                        continue;
                    };
                    if *keep > margin_mm {
                        continue;
                    }
                    let asked = self.ask(track, (row, column), below, *hint, &mut scratch);
                    (*keep, *hint) = (asked.lower, asked.leaf);
                    if asked.lower <= margin_mm {
                        first = at;
                        return true;
                    }
                }
                false
            })
            .collect()
    }

    fn floor_column(&self, column: usize) -> Vec<CellFloor> {
        let mut scratch = Scratch::default();
        let mut hints: Vec<Option<u32>> = vec![None; self.tracks.len()];
        let mut keeps = vec![f64::NEG_INFINITY; self.tracks.len()];
        let mut first = 0;
        let mut floors = Vec::with_capacity(self.grid.rows);
        for row in 0..self.grid.rows {
            // What was certain of the whole of the last cell shrinks from there.
            for (keep, track) in keeps.iter_mut().zip(&self.tracks) {
                *keep -= track.row_speed;
            }
            let mut best = (f64::INFINITY, first);
            let others = (0..self.tracks.len()).filter(|&at| at != first);
            for at in std::iter::once(first).chain(others) {
                let (Some(track), Some(keep), Some(hint)) =
                    (self.tracks.get(at), keeps.get_mut(at), hints.get_mut(at))
                else {
                    continue;
                };
                if *keep < best.0 {
                    *keep = self.floor(track, (row, column), best.0, hint, &mut scratch);
                }
                if *keep < best.0 {
                    best = (*keep, at);
                }
                if best.0 <= 0.0 {
                    break;
                }
            }
            first = best.1;
            let pair = self
                .tracks
                .get(first)
                .map_or(0, |track| track.number as u32);
            floors.push(CellFloor {
                lower_mm: best.0.max(0.0),
                pair,
            });
        }
        floors
    }

    /// What a pair keeps everywhere in a cell, as far as that is below `below`, mm.
    fn floor(
        &self,
        track: &Track,
        (row, column): (usize, usize),
        below: f64,
        hint: &mut Option<u32>,
        scratch: &mut Scratch,
    ) -> f64 {
        let travel = 0.5 * (track.row_speed + track.column_speed);
        let asked = self.ask(track, (row, column), below + travel, *hint, scratch);
        *hint = asked.leaf;
        if asked.lower <= 0.0 || asked.lower - travel >= below {
            return (asked.lower - travel).max(0.0);
        }
        let mut movers = std::mem::take(&mut scratch.movers);
        let pose = track
            .stepped
            .block((row, row + 1), (column, column + 1), &mut movers);
        let block = (&pose, movers.as_slice());
        let least = track
            .couple
            .lowest(block, below, *hint, self.precision, scratch);
        scratch.movers = movers;
        least.max(asked.lower - travel)
    }

    fn certified_strip(&self, column: usize, margin_mm: f64) -> Vec<Patch> {
        let mut work = Certification {
            mapper: self,
            margin_mm,
            scratch: Scratch::default(),
            frontiers: vec![Child::Node(0)],
            open: (0..self.tracks.len())
                .map(|track| OpenTrack {
                    track,
                    from: 0,
                    to: 1,
                })
                .collect(),
            blocks: Vec::new(),
        };
        let columns = (column, (column + ROOT_CELLS).min(self.grid.columns));
        for row in (0..self.grid.rows).step_by(ROOT_CELLS) {
            let rows = (row, (row + ROOT_CELLS).min(self.grid.rows));
            work.cut(rows, columns, (0, self.tracks.len()));
        }
        work.blocks
    }
}

/// Builds what a map needs of one pair.
fn track<'a>(
    room: &'a Room,
    drives: &[Vec<(MapAxis, Joint)>],
    grid: Grid,
    number: usize,
) -> Option<Track<'a>> {
    let (couple, linkage) = Couple::of(room, drives, number)?;
    let speed = |axis| couple.speed(&linkage, axis, EVERYWHERE);
    Some(Track {
        number,
        row_speed: speed(MapAxis::Row) / grid.rows as f64,
        column_speed: speed(MapAxis::Column) / grid.columns as f64,
        stepped: Stepped::new(&linkage, grid.rows, grid.columns),
        couple,
    })
}

/// A pair that is still open in a block, and where its certification goes on: a range of `Certification::frontiers`.
#[derive(Clone, Copy)]
struct OpenTrack {
    track: usize,
    from: usize,
    to: usize,
}

struct Certification<'a> {
    mapper: &'a Mapper<'a>,
    margin_mm: f64,
    scratch: Scratch,
    /// A stack: what a block leaves to its parts is dropped when they are done.
    frontiers: Vec<Child>,
    /// A stack as well.
    open: Vec<OpenTrack>,
    blocks: Vec<Patch>,
}

impl Certification<'_> {
    /// Certifies a block for the pairs in a range of `open`, or cuts it for those that stay open.
    fn cut(&mut self, rows: (usize, usize), columns: (usize, usize), pairs: (usize, usize)) {
        let (open_before, frontier_before) = (self.open.len(), self.frontiers.len());
        let state = self.weigh(rows, columns, pairs);
        let single = rows.1 - rows.0 <= 1 && columns.1 - columns.0 <= 1;
        if state != CellState::Open || single {
            self.blocks.push(Patch {
                rows,
                columns,
                state,
            });
        } else {
            let still = (open_before, self.open.len());
            for rows in halves(rows) {
                for columns in halves(columns) {
                    if rows.0 < rows.1 && columns.0 < columns.1 {
                        self.cut(rows, columns, still);
                    }
                }
            }
        }
        self.open.truncate(open_before);
        self.frontiers.truncate(frontier_before);
    }

    /// Puts the pairs that stay open on the stack.
    fn weigh(
        &mut self,
        rows: (usize, usize),
        columns: (usize, usize),
        pairs: (usize, usize),
    ) -> CellState {
        let mut state = CellState::Clear;
        for at in pairs.0..pairs.1 {
            let Some(&OpenTrack { track, from, to }) = self.open.get(at) else {
                continue;
            };
            self.scratch.frontier.clear();
            let start = self.frontiers.get(from..to).unwrap_or(&[]);
            self.scratch.frontier.extend_from_slice(start);
            match self.verdict(track, rows, columns) {
                Verdict::Contact => return CellState::Contact,
                Verdict::Clear => {}
                Verdict::Open => {
                    state = CellState::Open;
                    let from = self.frontiers.len();
                    self.frontiers.extend_from_slice(&self.scratch.frontier);
                    let to = self.frontiers.len();
                    self.open.push(OpenTrack { track, from, to });
                }
            }
        }
        state
    }

    fn verdict(&mut self, at: usize, rows: (usize, usize), columns: (usize, usize)) -> Verdict {
        let mapper = self.mapper;
        let Some(track) = mapper.tracks.get(at) else {
            return Verdict::Open;
        };
        let mut movers = std::mem::take(&mut self.scratch.movers);
        let pose = track.stepped.block(rows, columns, &mut movers);
        let travel = || {
            0.5 * (track.row_speed * (rows.1 - rows.0) as f64
                + track.column_speed * (columns.1 - columns.0) as f64)
        };
        let verdict = track.couple.certify(
            &Block {
                pose: &pose,
                movers: &movers,
                plane: None,
            },
            travel,
            self.margin_mm,
            mapper.precision.backend,
            &mut self.scratch,
        );
        self.scratch.movers = movers;
        verdict
    }
}

fn halves((first, last): (usize, usize)) -> [(usize, usize); 2] {
    let middle = (first + last) / 2;
    [(first, middle), (middle, last)]
}
