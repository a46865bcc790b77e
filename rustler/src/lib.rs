//! Context sampler and CPU kernels of plurel.
//!
//! `store` owns the memory map, `visibility` every rule about time and leakage, `context` chooses
//! rows and cells, `batch` turns contexts into arrays, `kernels` computes attention on the CPU,
//! `python` is the only place that knows PyO3.

#[cfg(feature = "python")]
mod python;
