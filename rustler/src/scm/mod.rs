//! Structural causal models of synthetic tables (PluRel, arXiv 2602.04029): the random functions
//! of nodes and edges are drawn here, and rows are propagated through them.
//!
//! `random` draws, `weights` matrices, `mlp` and `activation` what is made of them, `function`
//! encoders and decoders, `noise` and `aggregate` what comes together in a node, `encoded` what
//! referenced rows add, `model` the whole and `pass` the way of rows through it.
//! The Python package decides what is drawn (which rule, depth, activation); nothing here knows of
//! its config.

// loops over indices of arrays of fixed length say best what shall become vector instructions
#![allow(clippy::needless_range_loop)]

pub mod activation;
pub mod aggregate;
pub mod block;
pub mod encoded;
pub mod function;
mod math;
pub mod mlp;
pub mod model;
pub mod noise;
mod pass;
#[cfg(feature = "python")]
pub mod python;
pub mod random;
#[cfg(test)]
mod tests;
pub mod weights;
