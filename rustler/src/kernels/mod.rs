//! Kernels of the CPU training path: attention over groups, RMS norm, SwiGLU, forward and backward.
//!
//! Numbers are stored in fp32 or bf16 (`element`); everything computes in fp32 and is deterministic: contexts and rows are independent of each
//! other, so the result does not depend on the number of threads. The inner loops are plain Rust
//! over arrays of fixed length; `dispatch` compiles them once for each instruction set and picks
//! one when the program runs.

// loops over indices of arrays of fixed length say best what shall become vector instructions
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod backward;
#[cfg(test)]
mod bf16_tests;
pub mod element;
pub mod groups;
#[cfg(test)]
mod layer_tests;
pub mod norm;
#[cfg(feature = "python")]
pub mod python;
pub(crate) mod simd;
pub mod swiglu;
#[cfg(test)]
mod tests;
mod threads;
mod tile;
pub mod transpose;

use thiserror::Error;

/// Arguments that do not fit together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KernelError {
    #[error("{name} has {found} elements, expected {expected}")]
    Length {
        name: &'static str,
        found: usize,
        expected: usize,
    },
    #[error("groups: {name} must rise from 0 to {end}")]
    Pointers { name: &'static str, end: usize },
    #[error("groups: a {name} of context {context} lies outside of the context's cells")]
    Outside { name: &'static str, context: usize },
    #[error("groups: cell {row} is a query twice")]
    Twice { row: usize },
    #[error("attention: {0} channels a head are too many, at most {max}", max = attention::MAX_DIM)]
    Dim(usize),
    #[error("threads: {0}")]
    Threads(String),
}

/// `Ok` if a slice has the expected length.
fn check_length(name: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected {
        Ok(())
    } else {
        Err(KernelError::Length {
            name,
            found,
            expected,
        })
    }
}
