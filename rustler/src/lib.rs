//! Context sampler and CPU kernels of plurel.
//!
//! `store` owns the memory map (`meta` its names, `check` what is checked when it is opened),
//! `visibility` every rule about time and leakage, `task` what is predicted, `recipe` the parts of
//! a context, `context` puts rows and cells together that `breadth` and `labelled` choose
//! (`candidates`, `walks` and `labels` find label rows), `batch` names the
//! contexts of a step and `assemble` turns them into arrays, `kernels` computes attention on the
//! CPU, `scm` propagates the structural causal models of synthetic tables, `python` (and a file of
//! that name beside `kernels` and `scm`) is the only place that knows PyO3.

pub mod assemble;
pub mod batch;
pub mod breadth;
mod candidates;
pub mod check;
pub mod context;
pub mod error;
pub mod idmap;
pub mod kernels;
mod labelled;
pub mod labels;
pub mod meta;
pub mod recipe;
pub mod rng;
pub mod scm;
pub mod settings;
pub mod store;
pub mod task;
pub mod visibility;
mod walks;

#[cfg(feature = "python")]
mod python;
