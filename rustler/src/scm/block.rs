//! Rows are worked on in blocks: a lane holds one component of `ROWS` rows, an embedding of these
//! rows is one lane a component. Every number depends on its own row alone, so how rows are split
//! into blocks changes nothing.

/// Rows a block.
pub const ROWS: usize = 64;

/// One component of a block's rows.
pub type Lane = [f32; ROWS];

pub const ZERO: Lane = [0.0; ROWS];
