//! Maps: the clearance over two axes at once, and which of its cells are clear everywhere inside.
//!
//! Along a column of cells the poses change little from one to the next. So the leaf that held the nearest point is searched
//! first, the pair that was nearest before is measured first, and a pair is not measured at all while the motion since it was
//! last measured cannot have brought it below the nearest one.

use rayon::prelude::*;

use super::body::Body;
use super::certify::{Margins, Stray, Turn, Verdict, certify};
use super::chain::{Chain, Joint, Swept, closing_speed};
use super::error::ClearanceError;
use super::rigid::{Rigid, V3};
use super::room::{Pair, Precision, Room, Shape};
use super::search::{Convex, Options, Scratch, search};
use super::sweep::CONTACT_MM;

/// The most cells a map may have.
pub const CELLS_MAX: usize = 16_000_000;

/// Which axis of the map drives a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Drive {
    /// It moves with the row axis (s from 0 to 1 over the map) or stands still.
    Row(Chain),
    /// It moves with the column axis.
    Column(Chain),
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

/// A pair with everything that a map asks of it again and again.
struct Track<'a> {
    number: usize,
    pair: Pair,
    /// `None` for two surfaces, which take the slow way.
    convex: Option<ConvexTrack<'a>>,
    /// How fast the distance can change along the rows, mm per row.
    row_speed: f64,
}

struct ConvexTrack<'a> {
    body: &'a Body,
    convex: &'a Convex,
    surface_frame: usize,
    /// `frame <- tree origin`.
    surface_place: Rigid,
    solid_frame: usize,
    /// `solid <- frame`.
    solid_back: Rigid,
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
        let strips: Vec<Vec<Block>> = (0..grid.columns.div_ceil(ROOT_CELLS))
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
struct Block {
    rows: (usize, usize),
    columns: (usize, usize),
    state: CellState,
}

struct Mapper<'a> {
    room: &'a Room,
    drives: &'a [Drive],
    grid: Grid,
    precision: Precision,
    tracks: Vec<Track<'a>>,
    /// For every frame: its poses at the middles of the rows or columns that drive it.
    poses: Vec<Vec<Rigid>>,
}

/// Half a cell, in numbers of the map axes.
const HALF: f64 = 0.5;

impl<'a> Mapper<'a> {
    fn new(
        room: &'a Room,
        drives: &'a [Drive],
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
        if rows == 0 || columns == 0 || rows.saturating_mul(columns) > CELLS_MAX {
            return Err(ClearanceError::Question(format!(
                "a map of {rows} x {columns} cells; ask for 1 to {CELLS_MAX} in all"
            )));
        }
        let poses = drives
            .iter()
            .map(|drive| match drive {
                Drive::Row(chain) => middles(chain, rows),
                Drive::Column(chain) => middles(chain, columns),
            })
            .collect();
        let mut mapper = Self {
            room,
            drives,
            grid,
            precision,
            tracks: Vec::new(),
            poses,
        };
        mapper.tracks = (0..room.pairs().len())
            .filter_map(|number| mapper.track(number))
            .collect();
        Ok(mapper)
    }

    fn track(&self, number: usize) -> Option<Track<'a>> {
        let pair = *self.room.pairs().get(number)?;
        let (surface, solid) = self.room.roles_of(pair);
        let body = self.room.parts.get(surface)?.body.as_ref()?;
        let (surface, solid) = (self.room.parts.get(surface)?, self.room.parts.get(solid)?);
        let convex = match &solid.shape {
            Shape::Convex(convex) => Some(ConvexTrack {
                body,
                convex,
                surface_frame: surface.frame,
                surface_place: surface.placement.then(&Rigid::slide(body.tree.origin)),
                solid_frame: solid.frame,
                solid_back: solid.placement.inverse(),
            }),
            Shape::Surface => None,
        };
        let row_speed = self.speed(pair, true) / self.grid.rows as f64;
        Some(Track {
            number,
            pair,
            convex,
            row_speed,
        })
    }

    /// How fast the distance of a pair can change over the whole of one axis while the other stands anywhere, mm.
    ///
    /// The other axis is taken as moving too when the reach of its turns is computed, and its own speed is left out.
    fn speed(&self, pair: Pair, along_rows: bool) -> f64 {
        let mut frozen: Vec<Chain> = Vec::new();
        for drive in self.drives {
            let (chain, driven) = match drive {
                Drive::Row(chain) => (chain, along_rows),
                Drive::Column(chain) => (chain, !along_rows),
            };
            frozen.push(if driven {
                chain.clone()
            } else {
                Chain::still(chain.pose(0.5))
            });
        }
        let side = |part| {
            let (frame, pose, half) = self.room.part_box(part)?;
            let other_axis = match (self.drives.get(frame)?, along_rows) {
                (Drive::Column(chain), true) | (Drive::Row(chain), false) => Some(chain),
                _ => None,
            };
            let swept = Swept::of_box(pose, half);
            // A part that only the other axis moves: its whole range must be reached.
            let swept = other_axis.map_or(swept, |chain| swept.anywhere(chain));
            Some((frozen.get(frame)?, swept))
        };
        match (side(pair.a), side(pair.b)) {
            (Some((ca, pa)), Some((cb, pb))) => closing_speed((ca, &pa), (cb, &pb), 0.0, 1.0),
            _ => f64::INFINITY,
        }
    }

    fn pose(&self, frame: usize, row: usize, column: usize) -> Option<&Rigid> {
        let at = match self.drives.get(frame)? {
            Drive::Row(_) => row,
            Drive::Column(_) => column,
        };
        self.poses.get(frame)?.get(at)
    }

    fn relative(&self, track: &ConvexTrack, row: usize, column: usize) -> Option<Rigid> {
        let surface = self
            .pose(track.surface_frame, row, column)?
            .then(&track.surface_place);
        let solid = self.pose(track.solid_frame, row, column)?;
        Some(track.solid_back.then(&solid.inverse()).then(&surface))
    }

    /// A lower bound of a pair's distance, and the leaf that held the nearest point; zero for contact. Distances of
    /// `below` and more may be reported lower than they are, but not below `below`.
    fn ask(
        &self,
        track: &Track,
        row: usize,
        column: usize,
        below: f64,
        hint: Option<u32>,
        scratch: &mut Scratch,
    ) -> Option<(f64, f64, Option<u32>)> {
        let Some(quick) = &track.convex else {
            let poses: Vec<Rigid> = (0..self.poses.len())
                .filter_map(|frame| self.pose(frame, row, column).copied())
                .collect();
            let found = self.room.measure(
                track.pair,
                &poses,
                below,
                self.precision,
                None,
                false,
                scratch,
            )?;
            return Some((found.lower.max(0.0), found.upper.max(0.0), None));
        };
        let pose = self.relative(quick, row, column)?;
        let rounding = quick.body.rounding;
        let options = Options {
            below: below + rounding,
            exact: self.precision.exact,
            hint,
            backend: self.precision.backend,
        };
        let found = search(&quick.body.tree, quick.convex, &pose, &options, scratch);
        if found.distance <= rounding || quick.body.encloses(quick.convex, &pose) {
            return Some((0.0, 0.0, found.leaf.or(hint)));
        }
        let upper = found.distance - rounding + quick.body.looseness;
        Some((
            (found.lower - rounding).max(0.0),
            upper,
            found.leaf.or(hint),
        ))
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
                let Some((lower, upper, leaf)) =
                    self.ask(track, row, column, best.1, *hint, &mut scratch)
                else {
                    continue;
                };
                (*keep, *hint) = (lower, leaf);
                if upper < best.1 {
                    best = (best.0.min(lower), upper, at);
                } else {
                    best.0 = best.0.min(lower);
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
                let asked = self.tracks.iter().zip(&mut hints);
                asked
                    .filter_map(|(track, hint)| {
                        let (lower, _, leaf) =
                            self.ask(track, row, column, f64::INFINITY, *hint, &mut scratch)?;
                        *hint = leaf;
                        Some(lower)
                    })
                    .collect()
            })
            .collect()
    }

    fn contact_column(&self, column: usize, margin_mm: f64) -> Vec<bool> {
        let count = self.tracks.len();
        let mut scratch = Scratch::default();
        let mut hints: Vec<Option<u32>> = vec![None; count];
        let mut keeps = vec![f64::NEG_INFINITY; count];
        let mut first = 0;
        let asked = margin_mm + CONTACT_MM;
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
                    let Some((lower, _, leaf)) =
                        self.ask(track, row, column, asked, *hint, &mut scratch)
                    else {
                        continue;
                    };
                    (*keep, *hint) = (lower, leaf);
                    if lower <= margin_mm {
                        first = at;
                        return true;
                    }
                }
                false
            })
            .collect()
    }

    fn certified_strip(&self, column: usize, margin_mm: f64) -> Vec<Block> {
        let mut work = Certification {
            mapper: self,
            margin_mm,
            scratch: Scratch::default(),
            blocks: Vec::new(),
        };
        let all: Vec<usize> = (0..self.tracks.len()).collect();
        let columns = (column, (column + ROOT_CELLS).min(self.grid.columns));
        for row in (0..self.grid.rows).step_by(ROOT_CELLS) {
            work.cut((row, (row + ROOT_CELLS).min(self.grid.rows)), columns, &all);
        }
        work.blocks
    }
}

fn middles(chain: &Chain, count: usize) -> Vec<Rigid> {
    (0..count)
        .map(|at| chain.pose((at as f64 + HALF) / count as f64))
        .collect()
}

struct Certification<'a> {
    mapper: &'a Mapper<'a>,
    margin_mm: f64,
    scratch: Scratch,
    blocks: Vec<Block>,
}

impl Certification<'_> {
    /// Certifies a block, or cuts it in four for the pairs that are still open.
    fn cut(&mut self, rows: (usize, usize), columns: (usize, usize), pairs: &[usize]) {
        let mut open = Vec::new();
        for &at in pairs {
            match self.verdict(at, rows, columns) {
                Verdict::Contact => {
                    self.blocks.push(Block {
                        rows,
                        columns,
                        state: CellState::Contact,
                    });
                    return;
                }
                Verdict::Clear => {}
                Verdict::Open => open.push(at),
            }
        }
        if open.is_empty() {
            self.blocks.push(Block {
                rows,
                columns,
                state: CellState::Clear,
            });
            return;
        }
        if rows.1 - rows.0 <= 1 && columns.1 - columns.0 <= 1 {
            self.blocks.push(Block {
                rows,
                columns,
                state: CellState::Open,
            });
            return;
        }
        for rows in halves(rows) {
            for columns in halves(columns) {
                if rows.0 < rows.1 && columns.0 < columns.1 {
                    self.cut(rows, columns, &open);
                }
            }
        }
    }

    fn verdict(&mut self, at: usize, rows: (usize, usize), columns: (usize, usize)) -> Verdict {
        let mapper = self.mapper;
        let Some(track) = mapper.tracks.get(at) else {
            return Verdict::Open;
        };
        let (Some(quick), grid) = (&track.convex, mapper.grid) else {
            return Verdict::Open;
        };
        let spans = [(rows, grid.rows), (columns, grid.columns)].map(|((first, last), count)| {
            (first as f64 / count as f64, last as f64 / count as f64)
        });
        mapper
            .certify(quick, spans, self.margin_mm, &mut self.scratch)
            .unwrap_or(Verdict::Open)
    }
}

fn halves((first, last): (usize, usize)) -> [(usize, usize); 2] {
    let middle = (first + last) / 2;
    [(first, middle), (middle, last)]
}

impl Mapper<'_> {
    fn certify(
        &self,
        track: &ConvexTrack,
        spans: [(f64, f64); 2],
        margin_mm: f64,
        scratch: &mut Scratch,
    ) -> Option<Verdict> {
        let (surface_pose, surface_wobble) = self.block_pose(track.surface_frame, spans)?;
        let (solid_pose, solid_wobble) = self.block_pose(track.solid_frame, spans)?;
        let to_solid = track.solid_back.then(&solid_pose.inverse());
        let pose = to_solid.then(&surface_pose).then(&track.surface_place);
        let turn = |wobble: Wobble| Turn {
            origin: to_solid.point(&wobble.origin),
            axis: to_solid.rotation * wobble.axis,
            angle: wobble.angle,
        };
        let stray = Stray {
            turns: [turn(surface_wobble), turn(solid_wobble)],
            rest: surface_wobble.rest + solid_wobble.rest,
        };
        let body = track.body;
        let margins = Margins {
            clear: margin_mm + body.rounding,
            contact: body.looseness - body.rounding,
        };
        let verdict = certify(
            &body.tree,
            track.convex,
            &pose,
            &stray,
            margins,
            self.precision.backend,
            scratch,
        );
        // A surface that stays clear of the solid keeps it inside or outside all over the block.
        if verdict == Verdict::Clear && body.encloses(track.convex, &pose) {
            return Some(Verdict::Contact);
        }
        Some(verdict)
    }

    /// The pose of a frame at the middle of a block and how it strays from there.
    fn block_pose(&self, frame: usize, spans: [(f64, f64); 2]) -> Option<(Rigid, Wobble)> {
        let [rows, columns] = spans;
        let (chain, (start, end)) = match self.drives.get(frame)? {
            Drive::Row(chain) => (chain, rows),
            Drive::Column(chain) => (chain, columns),
        };
        let middle = 0.5 * (start + end);
        Some((
            chain.pose(middle),
            self.wobble(frame, chain, middle, 0.5 * (end - start)),
        ))
    }

    /// A chain with one moving turn strays by that turn; one that moves otherwise by the travel of its parts.
    fn wobble(&self, frame: usize, chain: &Chain, middle: f64, half: f64) -> Wobble {
        let still = Wobble {
            origin: V3::zeros(),
            axis: V3::z(),
            angle: 0.0,
            rest: 0.0,
        };
        let mut moving = chain
            .joints
            .iter()
            .enumerate()
            .filter(|(_, joint)| joint.moves());
        match (moving.next(), moving.next()) {
            (None, _) => still,
            (Some((at, Joint::Turn { axis, from, to })), None) => {
                let outer = Chain {
                    joints: chain.joints.iter().take(at).copied().collect(),
                }
                .pose(middle);
                let angle = (to - from).abs() * half;
                Wobble {
                    origin: outer.translation,
                    axis: outer.rotation * axis,
                    angle,
                    rest: 0.0,
                }
            }
            (Some((_, Joint::Slide { from, to })), None) => Wobble {
                rest: (to - from).norm() * half,
                ..still
            },
            _ => Wobble {
                rest: self.travel(frame, chain, middle, half),
                ..still
            },
        }
    }

    /// The furthest that any part of a frame travels within `half` of `middle`.
    fn travel(&self, frame: usize, chain: &Chain, middle: f64, half: f64) -> f64 {
        let ground = Chain::still(Rigid::identity());
        let nowhere = Swept::of_box(Rigid::identity(), V3::repeat(1e9));
        let speeds = (0..self.room.parts.len()).filter_map(|part| {
            let (on, pose, size) = self.room.part_box(part)?;
            let swept = Swept::of_box(pose, size);
            (on == frame).then(|| {
                closing_speed(
                    (chain, &swept),
                    (&ground, &nowhere),
                    middle - half,
                    middle + half,
                )
            })
        });
        speeds.fold(0.0, f64::max) * half
    }
}

/// How a frame strays from the middle of a block, in the fixed frame.
#[derive(Clone, Copy)]
struct Wobble {
    origin: V3,
    axis: V3,
    angle: f64,
    rest: f64,
}
