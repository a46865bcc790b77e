//! The Python binding: convert arguments, call, wrap results.

mod arrays;
pub(crate) mod convert;
mod recipe;
mod task;

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::batch::Sampler as Core;
use crate::context::NewRow;
use crate::dictionary;
use crate::error::Error;
use crate::meta::{SEMANTIC_TYPES, SemanticType};
use crate::settings::Settings;
use crate::store::{self, Store as CoreStore};
use arrays::to_dict;
use convert::{RustlerError, bad, guard, split_named, whole};
use recipe::{Recipe, numbers};
use task::Task;

/// A checked, memory-mapped store folder.
#[pyclass(frozen, module = "rustler")]
struct Store(CoreStore);

#[pymethods]
impl Store {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        guard(|| Ok(Store(py.detach(|| CoreStore::open(&path))?)))
    }

    fn __getnewargs__(&self) -> PyResult<(PathBuf,)> {
        guard(|| Ok((self.0.path.clone(),)))
    }

    #[getter]
    fn name(&self) -> PyResult<&str> {
        guard(|| Ok(self.0.meta.name.as_str()))
    }

    #[getter]
    fn num_rows(&self) -> PyResult<u64> {
        guard(|| Ok(self.0.meta.num_rows))
    }

    #[getter]
    fn num_cells(&self) -> PyResult<u64> {
        guard(|| Ok(self.0.meta.num_cells))
    }

    #[getter]
    fn num_edges(&self) -> PyResult<u64> {
        guard(|| Ok(self.0.meta.num_edges))
    }

    fn row<'py>(&self, row: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            let rows = self.0.meta.num_rows;
            let number = whole::<u32>(row, "row")?;
            if u64::from(number) >= rows {
                return Err(bad(format!(
                    "row {number} is not below the store's {rows} rows"
                )));
            }
            let arrays = self.0.arrays();
            let cell = |(column, bits): (u32, u32)| match self.0.types[column as usize] {
                SemanticType::Text => (column, None, Some(bits)),
                _ => (column, Some(f32::from_bits(bits)), None),
            };
            let dict = PyDict::new(row.py());
            dict.set_item("table", self.0.meta.table_of(number))?;
            dict.set_item("time", arrays.time(number))?;
            let cells: Vec<_> = arrays.cells(number).map(cell).collect();
            dict.set_item("cells", cells)?;
            dict.set_item("parents", arrays.parents(number).collect::<Vec<_>>())?;
            dict.set_item("children", arrays.children(number).0)?;
            Ok(dict)
        })
    }

    fn distinct_texts(
        &self,
        py: Python<'_>,
        column: &Bound<'_, PyAny>,
        rows: (Bound<'_, PyAny>, Bound<'_, PyAny>),
        limit: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<u32>> {
        guard(|| {
            let column = whole(column, "column")?;
            let rows = whole(&rows.0, "the first row")?..whole(&rows.1, "the end of the rows")?;
            let most = whole(limit, "limit")?;
            Ok(py.detach(|| self.0.distinct_texts(column, rows, most))?)
        })
    }
}

/// Draws contexts.
#[pyclass(frozen, module = "rustler")]
struct Sampler {
    core: Core,
    tasks: Vec<Py<Task>>,
}

#[pymethods]
impl Sampler {
    #[new]
    #[pyo3(signature = (
        stores, tasks, *, embedder, context_length=None, recipes=None, batch_size=None,
        extra_target_share=(0.0, 0.0), seed=None, num_threads=None, child_counts=false,
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords in Python.
    fn new(
        py: Python<'_>,
        stores: Vec<PathBuf>,
        tasks: Vec<Py<Task>>,
        embedder: String,
        context_length: Option<&Bound<'_, PyAny>>,
        recipes: Option<Vec<Py<Recipe>>>,
        batch_size: Option<&Bound<'_, PyAny>>,
        extra_target_share: (f64, f64),
        seed: Option<&Bound<'_, PyAny>>,
        num_threads: Option<&Bound<'_, PyAny>>,
        child_counts: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let or = |value: Option<&Bound<'_, PyAny>>, name, default| {
                value.map_or(Ok(default), |v| whole::<usize>(v, name))
            };
            let settings = Settings {
                embedder,
                context_length: match context_length {
                    Some(lengths) => numbers(lengths, "context_length")?,
                    None => vec![1024],
                },
                recipes: match recipes {
                    Some(recipes) => recipes.iter().map(|r| r.get().0.clone()).collect(),
                    None => vec![crate::recipe::Recipe::default()],
                },
                batch_size: or(batch_size, "batch_size", 32)?,
                extra_target_share,
                seed: or(seed, "seed", 0)? as u64,
                num_threads: or(num_threads, "num_threads", 1)?,
                child_counts,
            };
            let given = tasks.iter().map(|task| task.get().0.clone()).collect();
            let core = py.detach(|| Core::new(stores, given, settings))?;
            Ok(Self { core, tasks })
        })
    }

    /// Pickle makes a sampler again from its arguments: paths, tasks and settings.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let settings = &self.core.settings;
            let keywords = PyDict::new(py);
            keywords.set_item("embedder", &settings.embedder)?;
            keywords.set_item("context_length", settings.context_length.clone())?;
            let recipes = settings.recipes.iter().cloned().map(Recipe);
            keywords.set_item("recipes", recipes.collect::<Vec<_>>())?;
            keywords.set_item("batch_size", settings.batch_size)?;
            keywords.set_item("extra_target_share", settings.extra_target_share)?;
            keywords.set_item("seed", settings.seed)?;
            keywords.set_item("num_threads", settings.num_threads)?;
            keywords.set_item("child_counts", settings.child_counts)?;
            let tasks: Vec<_> = self.tasks.iter().map(|task| task.clone_ref(py)).collect();
            ((self.core.paths.clone(), tasks), keywords).into_bound_py_any(py)
        })
    }

    #[pyo3(signature = (step, *, rank=None, world_size=None, split="train"))]
    fn batch<'py>(
        &self,
        py: Python<'py>,
        step: &Bound<'py, PyAny>,
        rank: Option<&Bound<'py, PyAny>>,
        world_size: Option<&Bound<'py, PyAny>>,
        split: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            let step = whole(step, "step")?;
            let rank = rank.map_or(Ok(0), |r| whole(r, "rank"))?;
            let world = world_size.map_or(Ok(1), |w| whole(w, "world_size"))?;
            let split = split_named(split)?;
            to_dict(py, py.detach(|| self.core.batch(step, rank, world, split))?)
        })
    }

    #[pyo3(signature = (task, rows, *, cutoff=None, seed=None, recipe=None))]
    #[allow(clippy::too_many_arguments)] // They are keywords in Python.
    fn contexts<'py>(
        &self,
        py: Python<'py>,
        task: &Bound<'py, PyAny>,
        rows: &Bound<'py, PyAny>,
        cutoff: Option<&Bound<'py, PyAny>>,
        seed: Option<&Bound<'py, PyAny>>,
        recipe: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            let task = whole(task, "task")?;
            let rows = column::<u32>(rows, "rows", "uint32")?;
            let (cutoff, drawn) = how(cutoff, seed, recipe)?;
            let batch = py.detach(|| self.core.contexts(task, &rows, cutoff, drawn))?;
            to_dict(py, batch)
        })
    }

    #[pyo3(signature = (task, entities, times, time_values, *, cutoff=None, seed=None, recipe=None))]
    #[allow(clippy::too_many_arguments)] // They are keywords in Python.
    fn new_contexts<'py>(
        &self,
        py: Python<'py>,
        task: &Bound<'py, PyAny>,
        entities: &Bound<'py, PyAny>,
        times: &Bound<'py, PyAny>,
        time_values: &Bound<'py, PyAny>,
        cutoff: Option<&Bound<'py, PyAny>>,
        seed: Option<&Bound<'py, PyAny>>,
        recipe: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            let task = whole(task, "task")?;
            let entities = column::<u32>(entities, "entities", "uint32")?;
            let times = column::<i64>(times, "times", "int64")?;
            let values = column::<f32>(time_values, "time_values", "float32")?;
            if times.len() != entities.len() || values.len() != entities.len() {
                return Err(bad("entities, times and time_values differ in length"));
            }
            let row = |((entity, time), value): ((u32, i64), f32)| NewRow {
                entity,
                time: (time != store::NO_TIME).then_some(time),
                time_value: (time != store::NO_TIME && value.is_finite())
                    .then_some(value.to_bits()),
            };
            let rows: Vec<NewRow> = entities
                .into_iter()
                .zip(times)
                .zip(values)
                .map(row)
                .collect();
            let (cutoff, drawn) = how(cutoff, seed, recipe)?;
            let batch = py.detach(|| self.core.new_contexts(task, &rows, cutoff, drawn))?;
            to_dict(py, batch)
        })
    }
}

/// How contexts of given rows are drawn: the cutoff; the seed and the number of the recipe.
fn how(
    cutoff: Option<&Bound<'_, PyAny>>,
    seed: Option<&Bound<'_, PyAny>>,
    recipe: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Option<i64>, (u64, usize))> {
    let cutoff = cutoff.map(|c| whole(c, "cutoff")).transpose()?;
    let seed = seed.map_or(Ok(0), |s| whole(s, "seed"))?;
    let recipe = recipe.map_or(Ok(0), |r| whole(r, "recipe"))?;
    Ok((cutoff, (seed, recipe)))
}

/// A one-dimensional array of one type.
fn column<T: numpy::Element + Copy>(
    values: &Bound<'_, PyAny>,
    name: &str,
    kind: &str,
) -> PyResult<Vec<T>> {
    let array = values.extract::<PyReadonlyArray1<T>>().map_err(|_| {
        bad(format!(
            "{name} must be a one-dimensional numpy array of type {kind}"
        ))
    })?;
    Ok(array.as_array().to_vec())
}

type Encoded<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u16>>);

/// Distinct values and places among them, None if there are too many.
#[pyfunction]
fn encode_distinct<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<'py, u32>,
    valid: Option<PyReadonlyArray1<'py, bool>>,
    limit: &Bound<'py, PyAny>,
) -> PyResult<Option<Encoded<'py>>> {
    guard(|| {
        let limit = whole(limit, "limit")?;
        let values = values.as_slice()?;
        let valid = valid.as_ref().map(|valid| valid.as_slice()).transpose()?;
        if valid.is_some_and(|valid| valid.len() != values.len()) {
            return Err(bad("values and valid differ in length"));
        }
        let found = py.detach(|| dictionary::encode(values, valid, limit));
        Ok(found.map(|(distinct, places)| (distinct.into_pyarray(py), places.into_pyarray(py))))
    })
}

/// CRC-32 of a file from an offset on.
#[pyfunction]
fn checksum(py: Python<'_>, path: PathBuf, start: &Bound<'_, PyAny>) -> PyResult<u32> {
    guard(|| {
        let start = whole(start, "start")?;
        let found = py.detach(|| store::checksum(&path, start));
        Ok(found.map_err(|error| Error::io(&path, error))?)
    })
}

#[pymodule]
mod rustler {
    #[pymodule_export]
    use super::{Recipe, RustlerError, Sampler, Store, Task};
    #[pymodule_export]
    use super::{checksum, encode_distinct};

    use pyo3::prelude::*;

    /// Refuses a wrong choice of instructions, and says which are in use.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::guard(|| {
            let instructions = crate::kernels::simd::instructions();
            module.add("FAST_BF16", crate::kernels::simd::fast_bf16())?;
            match instructions {
                Ok(chosen) => module.add("INSTRUCTIONS", chosen.name()),
                Err(message) => Err(super::RustlerError::new_err(message.clone())),
            }
        })
    }

    #[pymodule_export]
    const FORMAT_VERSION: u32 = super::store::FORMAT_VERSION;
    #[pymodule_export]
    const MAX_HEAD_DIM: usize = crate::kernels::attention::MAX_DIM;
    #[pymodule_export]
    const NO_TIME: i64 = super::store::NO_TIME;
    #[pymodule_export]
    const NO_ROW: u32 = super::store::NO_ROW;
    #[pymodule_export]
    const RECORD_PADDING: u64 = super::store::PADDING;
    #[pymodule_export]
    const SEMANTIC_TYPES: (&str, &str, &str, &str) = {
        let [number, text, datetime, boolean] = super::SEMANTIC_TYPES;
        (number, text, datetime, boolean)
    };
    #[pymodule_export]
    const PARTS: [&str; 6] = crate::recipe::PARTS;
    #[pymodule_export]
    const ACTIVATIONS: [&str; 29] = crate::scm::activation::ACTIVATIONS;
    #[pymodule_export]
    const INITIALIZERS: [&str; 6] = crate::scm::weights::INITIALIZERS;
    #[pymodule_export]
    const AGGREGATIONS: [&str; 4] = crate::scm::aggregate::AGGREGATIONS;
    #[pymodule_export]
    const MAX_DIM: usize = crate::scm::python::spec::MAX_DIM;
    #[pymodule_export]
    const MAX_CATEGORIES: u32 = crate::scm::python::spec::MAX_CATEGORIES;
    #[pymodule_export]
    const NOISE_PARAMETERS: (f32, f32) = {
        let [low, high] = crate::scm::python::spec::NOISE_PARAMETERS;
        (low, high)
    };
    #[pymodule_export]
    use crate::kernels::python::{
        PyGroups, attention_backward, attention_forward, norm_backward, norm_forward,
        swiglu_backward, swiglu_forward, transpose_rows,
    };
    #[pymodule_export]
    use crate::scm::python::{EncodedRows, TableModel, activate, draw_matrices};
}
