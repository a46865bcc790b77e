//! A batch as a dict of numpy arrays.

use numpy::ndarray::Array2;
use numpy::{Element, IntoPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::bad;
use crate::assemble::Batch;

/// The arrays of a batch by their names in `rustler.pyi`, without a copy.
pub fn to_dict(py: Python<'_>, batch: Batch) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    let slots = (batch.num_contexts, batch.num_slots);
    put_matrix(&dict, "row", slots, batch.row)?;
    put_matrix(&dict, "column", slots, batch.column)?;
    put_matrix(&dict, "semantic_type", slots, batch.semantic_type)?;
    put_matrix(&dict, "value", slots, batch.value)?;
    put_matrix(&dict, "text", slots, batch.text)?;
    put_matrix(&dict, "is_target", slots, batch.is_target)?;
    put_matrix(&dict, "is_padding", slots, batch.is_padding)?;
    put(&dict, "target_slot", batch.target_slot)?;
    put(&dict, "target_row", batch.target_row)?;
    put(&dict, "context_task", batch.context_task)?;
    put(&dict, "context_store", batch.context_store)?;
    put(&dict, "context_recipe", batch.context_recipe)?;
    put(&dict, "context_classes", batch.context_classes)?;
    put(&dict, "context_told", batch.context_told)?;
    put(&dict, "context_row_ptr", batch.context_row_ptr)?;
    put(&dict, "row_number", batch.row_number)?;
    put(&dict, "row_table", batch.row_table)?;
    put(&dict, "row_time", batch.row_time)?;
    put(&dict, "row_depth", batch.row_depth)?;
    put(&dict, "row_part", batch.row_part)?;
    put(&dict, "row_origin", batch.row_origin)?;
    put(&dict, "row_alike", batch.row_alike)?;
    put(&dict, "parent_ptr", batch.parent_ptr)?;
    put(&dict, "parent", batch.parent)?;
    put(&dict, "column_text", batch.column_text)?;
    put(&dict, "column_number", batch.column_number)?;
    put(&dict, "column_store", batch.column_store)?;
    put(&dict, "count_ptr", batch.count_ptr)?;
    put(&dict, "count_key", batch.count_key)?;
    put(&dict, "count", batch.count)?;
    put(&dict, "key_text", batch.key_text)?;
    put(&dict, "class_ptr", batch.class_ptr)?;
    put(&dict, "class_text", batch.class_text)?;
    let texts = (batch.text_embedding.len() / batch.text_dim, batch.text_dim);
    put_matrix(&dict, "text_embedding", texts, batch.text_embedding)?;
    Ok(dict)
}

fn put<T: Element>(dict: &Bound<'_, PyDict>, name: &str, values: Vec<T>) -> PyResult<()> {
    dict.set_item(name, values.into_pyarray(dict.py()))
}

fn put_matrix<T: Element>(
    dict: &Bound<'_, PyDict>,
    name: &str,
    shape: (usize, usize),
    values: Vec<T>,
) -> PyResult<()> {
    let matrix = Array2::from_shape_vec(shape, values).map_err(|e| bad(format!("{name}: {e}")))?;
    dict.set_item(name, matrix.into_pyarray(dict.py()))
}
