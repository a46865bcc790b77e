//! Context sampler and CPU kernels of plurel.
//!
//! `store` owns the memory map (`meta` its names, `check` what is checked when it is opened),
//! `visibility` every rule about time and leakage, `task` what is predicted, `recipe` the parts of
//! a context, `context` puts them together (`builder` holds what is in, `breadth` and `labelled`
//! choose rows; `candidates`, `walks` over `nodes`, and `labels` find label rows, `telling` says of which
//! parents they tell most), `targets` draws the targets of a step's contexts, `counts` counts rows' children, `batch` builds contexts and `assemble`
//! turns them into arrays, `kernels` computes attention on the CPU, `scm` propagates the structural causal models of synthetic tables, `python` (and a file of
//! that name beside `kernels` and `scm`) is the only place that knows PyO3.

pub mod assemble;
pub mod batch;
pub mod breadth;
mod builder;
mod candidates;
pub mod check;
pub mod children;
pub mod context;
mod counts;
pub mod dictionary;
pub mod error;
pub mod idmap;
pub mod kernels;
mod labelled;
pub mod labels;
pub mod meta;
pub mod nodes;
pub mod recipe;
pub mod rng;
pub mod scm;
pub mod settings;
pub mod store;
mod targets;
pub mod task;
mod telling;
mod threads;
pub mod visibility;
mod walks;

#[cfg(feature = "python")]
mod python;
