//! Arguments and errors between the two languages.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
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

/// Calls without the GIL; a panic, which would be a bug of ours, becomes an error too.
pub fn call<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
    Ok(done.map_err(|panic| bad(format!("internal error: {}", panic_text(&*panic))))??)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
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
