//! Recipes of contexts for Python: numbers or lists of numbers by keyword.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::convert::{bad, guard};
use crate::recipe::{Order, OwnOrder, Recipe as Core};

/// Of which parts a context is made.
#[pyclass(frozen, module = "rustler")]
#[derive(Clone)]
pub struct Recipe(pub Core);

/// One value, or the values of a sequence.
pub fn numbers<T>(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<T>>
where
    T: for<'a, 'py> FromPyObject<'a, 'py>,
{
    if let Ok(one) = value.extract::<T>() {
        return Ok(vec![one]);
    }
    value.extract::<Vec<T>>().map_err(|_| {
        bad(format!(
            "{name} must be a number in range or a list of such, not {value}"
        ))
    })
}

/// A value or list of values of a field, if it is given.
fn put<T>(to: &mut Vec<T>, name: &str, fields: &Bound<'_, PyDict>) -> PyResult<()>
where
    T: for<'a, 'py> FromPyObject<'a, 'py>,
{
    if let Some(value) = fields.get_item(name)? {
        *to = numbers(&value, name)?;
    }
    Ok(())
}

/// One order by name, or the orders of a sequence; `known` are the names that there are.
fn orders<T>(
    value: &Bound<'_, PyAny>,
    field: &str,
    (named, known): (impl Fn(&str) -> Option<T>, &[&str]),
) -> PyResult<Vec<T>> {
    let find = |name: &String| {
        named(name).ok_or_else(|| {
            let known = known.join(", ");
            bad(format!("{field} '{name}' is none of {known}"))
        })
    };
    let names: Vec<String> = numbers(value, field)?;
    names.iter().map(find).collect()
}

#[pymethods]
impl Recipe {
    #[new]
    #[pyo3(signature = (name, **fields))]
    fn new(name: String, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        guard(|| {
            let mut recipe = Core {
                name,
                ..Core::default()
            };
            if let Some(fields) = fields {
                fill(&mut recipe, fields)?;
            }
            recipe.check()?;
            Ok(Recipe(recipe))
        })
    }

    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        guard(|| {
            let (recipe, fields) = (&self.0, PyDict::new(py));
            let names: Vec<_> = recipe.other_order.iter().map(|o| o.name()).collect();
            let own_names: Vec<_> = recipe.own_order.iter().map(|o| o.name()).collect();
            fields.set_item("weight", recipe.weight)?;
            fields.set_item("ancestors", recipe.ancestors.clone())?;
            fields.set_item("own_labels", recipe.own_labels.clone())?;
            fields.set_item("own_order", own_names)?;
            fields.set_item("own_columns", recipe.own_columns.clone())?;
            fields.set_item("other_columns", recipe.other_columns.clone())?;
            fields.set_item("other_labels", recipe.other_labels.clone())?;
            fields.set_item("other_order", names)?;
            fields.set_item("other_cells", recipe.other_cells.clone())?;
            fields.set_item("other_width", recipe.other_width.clone())?;
            fields.set_item("walks", recipe.walks.clone())?;
            fields.set_item("walk_length", recipe.walk_length.clone())?;
            fields.set_item("width", recipe.width.clone())?;
            fields.set_item("parent_levels", recipe.parent_levels.clone())?;
            fields.set_item("recency", recipe.recency.clone())?;
            fields.set_item("width_per_table", recipe.width_per_table)?;
            fields.set_item("with_labels", recipe.with_labels)?;
            Ok((PyTuple::new(py, [&recipe.name])?, fields))
        })
    }
}

fn fill(recipe: &mut Core, fields: &Bound<'_, PyDict>) -> PyResult<()> {
    for (name, value) in fields {
        let name: String = name.extract()?;
        let wrong = |_| bad(format!("{name} must not be {value}"));
        match name.as_str() {
            "weight" => recipe.weight = value.extract().map_err(|_: PyErr| wrong(()))?,
            "width_per_table" => {
                recipe.width_per_table = value.extract().map_err(|_: PyErr| wrong(()))?;
            }
            "with_labels" => {
                recipe.with_labels = value.extract().map_err(|_: PyErr| wrong(()))?;
            }
            "own_order" => {
                let all = (OwnOrder::named, &OwnOrder::NAMES[..]);
                recipe.own_order = orders(&value, &name, all)?;
            }
            "other_order" => {
                let all = (Order::named, &Order::NAMES[..]);
                recipe.other_order = orders(&value, &name, all)?;
            }
            "ancestors" => put(&mut recipe.ancestors, &name, fields)?,
            "own_labels" => put(&mut recipe.own_labels, &name, fields)?,
            "other_labels" => put(&mut recipe.other_labels, &name, fields)?,
            "other_cells" => put(&mut recipe.other_cells, &name, fields)?,
            "other_width" => put(&mut recipe.other_width, &name, fields)?,
            "own_columns" => put(&mut recipe.own_columns, &name, fields)?,
            "other_columns" => put(&mut recipe.other_columns, &name, fields)?,
            "walks" => put(&mut recipe.walks, &name, fields)?,
            "walk_length" => put(&mut recipe.walk_length, &name, fields)?,
            "width" => put(&mut recipe.width, &name, fields)?,
            "parent_levels" => put(&mut recipe.parent_levels, &name, fields)?,
            "recency" => put(&mut recipe.recency, &name, fields)?,
            _ => return Err(bad(format!("a recipe has no field '{name}'"))),
        }
    }
    Ok(())
}
