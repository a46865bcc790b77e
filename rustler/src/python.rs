//! The Python binding: convert arguments, call, wrap results.

use pyo3::prelude::*;

#[pymodule]
mod rustler {}
