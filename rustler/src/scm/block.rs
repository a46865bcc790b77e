//! Rows are worked on in blocks: a lane holds one component of `ROWS` rows, an embedding of these
//! rows is one lane a component. Every number depends on its own row alone, so how rows are split
//! into blocks changes nothing.

use std::ops::{Deref, DerefMut};

/// Rows a block.
pub const ROWS: usize = 64;

/// One component of a block's rows, on cache lines of its own: a vector that crosses from one line
/// to the next takes twice as long to load.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lane(pub [f32; ROWS]);

pub const ZERO: Lane = Lane([0.0; ROWS]);

impl Deref for Lane {
    type Target = [f32; ROWS];

    #[inline(always)]
    fn deref(&self) -> &[f32; ROWS] {
        &self.0
    }
}

impl DerefMut for Lane {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32; ROWS] {
        &mut self.0
    }
}
