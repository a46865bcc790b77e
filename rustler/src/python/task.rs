//! Tasks for Python.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use super::convert::{bad, guard, whole};
use crate::task::Task as Core;

/// What is predicted.
#[pyclass(frozen, module = "rustler")]
pub struct Task(pub Core);

#[pymethods]
impl Task {
    #[new]
    #[pyo3(signature = (store, table, column, splits, horizon=None, hidden_columns=vec![], weight=1.0, classes=vec![], hidden_keys=vec![]))]
    #[allow(clippy::too_many_arguments)] // They are keywords in Python.
    fn new(
        store: &Bound<'_, PyAny>,
        table: &Bound<'_, PyAny>,
        column: &Bound<'_, PyAny>,
        splits: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
        horizon: Option<&Bound<'_, PyAny>>,
        hidden_columns: Vec<Bound<'_, PyAny>>,
        weight: f64,
        classes: Vec<Bound<'_, PyAny>>,
        hidden_keys: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
    ) -> PyResult<Self> {
        guard(|| {
            let range = |(start, end): &(_, _)| -> PyResult<_> {
                Ok(whole(start, "the start of a split")?..whole(end, "the end of a split")?)
            };
            let ranges = splits.iter().map(range).collect::<PyResult<Vec<_>>>()?;
            let classes = classes.iter().map(|c| whole(c, "a class"));
            let hidden = hidden_columns.iter().map(|c| whole(c, "a hidden column"));
            let key = |(table, place): &(_, _)| -> PyResult<_> {
                Ok((
                    whole(table, "a hidden key's table")?,
                    whole(place, "a hidden key")?,
                ))
            };
            Ok(Task(Core {
                store: whole(store, "store")?,
                table: whole(table, "table")?,
                column: whole(column, "column")?,
                splits: ranges.try_into().map_err(|r: Vec<_>| {
                    bad(format!(
                        "splits must be three ranges (train, val, test), not {}",
                        r.len()
                    ))
                })?,
                horizon: horizon.map(|h| whole(h, "horizon")).transpose()?,
                hidden_columns: hidden.collect::<PyResult<Vec<_>>>()?,
                hidden_keys: hidden_keys.iter().map(key).collect::<PyResult<Vec<_>>>()?,
                weight,
                classes: classes.collect::<PyResult<Vec<_>>>()?,
            }))
        })
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let task = &self.0;
            let splits: Vec<_> = task.splits.iter().map(|s| (s.start, s.end)).collect();
            let place = (task.store, task.table, task.column);
            let (horizon, hidden) = (task.horizon, task.hidden_columns.clone());
            (
                place.0,
                place.1,
                place.2,
                splits,
                horizon,
                hidden,
                task.weight,
                task.classes.clone(),
                task.hidden_keys.clone(),
            )
                .into_bound_py_any(py)
        })
    }
}
