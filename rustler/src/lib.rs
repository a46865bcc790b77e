//! Context sampler and CPU kernels of plurel.
//!
//! `store` owns the memory map (`meta` its names, `check` what is checked when it is opened),
//! `visibility` every rule about time and leakage, `task` what is predicted, `context` and
//! `breadth` choose rows and cells (`labels` finds label rows by entity), `batch` names the
//! contexts of a step and `assemble` turns them into arrays, `kernels` computes attention on the
//! CPU, `scm` propagates the structural causal models of synthetic tables, `python` (and a file of
//! that name beside `kernels` and `scm`) is the only place that knows PyO3.

pub mod assemble;
pub mod batch;
pub mod breadth;
pub mod check;
pub mod context;
pub mod error;
pub mod idmap;
pub mod kernels;
pub mod labels;
pub mod meta;
pub mod rng;
pub mod scm;
pub mod settings;
pub mod store;
pub mod task;
pub mod visibility;

#[cfg(feature = "python")]
mod python;
