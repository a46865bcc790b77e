//! Arguments and errors between the two languages.

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::error::{Error, caught};
use crate::visibility::Split;

create_exception!(
    rustler,
    RustlerError,
    PyValueError,
    "Bad store, task or argument."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        RustlerError::new_err(error.to_string())
    }
}

pub fn bad(what: impl Into<String>) -> PyErr {
    RustlerError::new_err(what.into())
}

/// The body of every function that Python calls. A panic, which would be a bug of ours, becomes a
/// RuntimeError: PyO3's own PanicException passes by `except Exception`. Long work inside runs in
/// `py.detach`, which takes the GIL back on its way out, after a panic too.
pub fn guard<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    caught(body).unwrap_or_else(|panic| {
        let told = format!("internal error of rustler, please report it: {panic}");
        Err(PyRuntimeError::new_err(told))
    })
}

/// A whole number of type T; anything else is an error that names the argument.
pub fn whole<'py, T>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let wrong = |_| {
        bad(format!(
            "{name} must be a whole number in range, not {value}"
        ))
    };
    value.extract::<T>().map_err(|_| ()).map_err(wrong)
}

pub fn split_named(name: &str) -> PyResult<Split> {
    match name {
        "train" => Ok(Split::Train),
        "val" => Ok(Split::Val),
        "test" => Ok(Split::Test),
        _ => Err(bad(format!(
            "unknown split '{name}'; splits are train, val, test"
        ))),
    }
}
