//! Descriptions of functions and nodes from dictionaries of arrays.

use std::collections::HashMap;

use numpy::{Element, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::python::convert::bad;
use crate::scm::activation::ACTIVATIONS;
use crate::scm::aggregate::{AGGREGATIONS, Aggregation};
use crate::scm::function::FunctionSpec;
use crate::scm::mlp::LayerSpec;
use crate::scm::model::Node;
use crate::scm::noise::{LEVELS, beta_quantiles};
use crate::scm::weights::INITIALIZERS;

pub type Floats<'py> = PyReadonlyArray1<'py, f32>;
pub type NoiseTables<'py> = HashMap<usize, Floats<'py>>;

/// An array of the dictionary by name.
fn array<'py, T: Element + Copy>(from: &Bound<'py, PyDict>, name: &str) -> PyResult<Vec<T>> {
    let found = from
        .get_item(name)?
        .ok_or_else(|| bad(format!("'{name}' is missing")))?;
    let array = found.extract::<PyReadonlyArray1<T>>().map_err(|_| {
        let wanted = std::any::type_name::<T>();
        bad(format!(
            "'{name}' must be a one-dimensional array of {wanted}"
        ))
    })?;
    Ok(array.as_array().to_vec())
}

fn same_length(name: &str, found: usize, expected: usize) -> PyResult<()> {
    if found == expected {
        return Ok(());
    }
    Err(bad(format!(
        "'{name}' has {found} elements, expected {expected}"
    )))
}

/// Limits of what a caller may ask for: beyond them memory runs out, which ends the process.
pub const MAX_DIM: usize = 4096;
pub const MAX_CATEGORIES: u32 = 1 << 16;
/// Parameters of the noise that `beta_quantiles` serves.
pub const NOISE_PARAMETERS: [f32; 2] = [0.5, 20.0];

fn between(name: &str, values: &[f32], low: f32, high: f32) -> PyResult<()> {
    match values.iter().find(|value| !(low..=high).contains(*value)) {
        Some(value) => Err(bad(format!(
            "'{name}' holds {value}, which is not from {low} to {high}"
        ))),
        None => Ok(()),
    }
}

fn below(name: &str, codes: &[u8], end: usize) -> PyResult<()> {
    match codes.iter().find(|&&code| usize::from(code) >= end) {
        Some(code) => Err(bad(format!(
            "'{name}' holds {code}, which is not below {end}"
        ))),
        None => Ok(()),
    }
}

fn layers_of(from: &Bound<'_, PyDict>, total: usize) -> PyResult<Vec<LayerSpec>> {
    let initializer = array::<u8>(from, "initializer")?;
    let density = array::<f32>(from, "density")?;
    let activation = array::<u8>(from, "activation")?;
    let scale = array::<f32>(from, "scale")?;
    same_length("initializer", initializer.len(), total)?;
    same_length("density", density.len(), total)?;
    same_length("activation", activation.len(), total)?;
    same_length("scale", scale.len(), total)?;
    below("initializer", &initializer, INITIALIZERS.len())?;
    below("activation", &activation, ACTIVATIONS.len())?;
    between("density", &density, 1e-3, 1.0)?;
    between("scale", &scale, -f32::MAX, f32::MAX)?;
    let layer = |i: usize| LayerSpec {
        initializer: initializer[i],
        density: density[i],
        activation: Some((activation[i], scale[i])),
    };
    Ok((0..total).map(layer).collect())
}

pub fn functions_of(from: &Bound<'_, PyDict>) -> PyResult<Vec<FunctionSpec>> {
    let depth = array::<u8>(from, "depth")?;
    let decodes = array::<bool>(from, "decodes")?;
    let categories = array::<u32>(from, "categories")?;
    let weight = array::<f32>(from, "weight")?;
    let embedding = array::<u8>(from, "embedding")?;
    same_length("decodes", decodes.len(), depth.len())?;
    same_length("categories", categories.len(), depth.len())?;
    same_length("weight", weight.len(), depth.len())?;
    same_length("embedding", embedding.len(), depth.len())?;
    below("embedding", &embedding, INITIALIZERS.len())?;
    between("weight", &weight, -f32::MAX, f32::MAX)?;
    if let Some(count) = categories.iter().find(|&&count| count > MAX_CATEGORIES) {
        return Err(bad(format!(
            "'categories' holds {count}, at most {MAX_CATEGORIES} are possible"
        )));
    }
    let total = depth.iter().map(|&depth| usize::from(depth)).sum();
    let mut layers = layers_of(from, total)?.into_iter();
    let mut function = |i: usize| {
        let mut own: Vec<_> = layers.by_ref().take(usize::from(depth[i])).collect();
        if let Some(last) = own.last_mut() {
            last.activation = None;
        }
        FunctionSpec {
            decodes: decodes[i],
            categories: categories[i] as usize,
            weight: weight[i],
            embedding: embedding[i],
            layers: own,
        }
    };
    Ok((0..depth.len()).map(&mut function).collect())
}

pub fn nodes_of(from: &Bound<'_, PyDict>, tables: &NoiseTables) -> PyResult<Vec<Node>> {
    let aggregation = array::<u8>(from, "aggregation")?;
    let decoder = array::<i64>(from, "decoder")?;
    let alpha = array::<f32>(from, "noise_alpha")?;
    let beta = array::<f32>(from, "noise_beta")?;
    let starts = array::<i64>(from, "parent_ptr")?;
    let parent = array::<i64>(from, "parent")?;
    let encoder = array::<i64>(from, "encoder")?;
    let count = decoder.len();
    same_length("aggregation", aggregation.len(), count)?;
    same_length("noise_alpha", alpha.len(), count)?;
    same_length("noise_beta", beta.len(), count)?;
    same_length("parent_ptr", starts.len(), count + 1)?;
    same_length("encoder", encoder.len(), parent.len())?;
    below("aggregation", &aggregation, AGGREGATIONS.len())?;
    let node = |i: usize| {
        let edges = usize::try_from(starts[i])
            .ok()
            .zip(usize::try_from(starts[i + 1]).ok())
            .and_then(|(start, end)| parent.get(start..end).zip(encoder.get(start..end)))
            .ok_or_else(|| bad("'parent_ptr' does not rise from 0 to the number of edges"))?;
        // what is negative is out of range, and refused by the model
        let number = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
        let edges = edges.0.iter().zip(edges.1);
        Ok(Node {
            aggregation: Aggregation::ALL[usize::from(aggregation[i])],
            parents: edges.map(|(&p, &e)| (number(p), number(e))).collect(),
            decoder: (decoder[i] >= 0).then(|| number(decoder[i])),
            noise: quantiles(tables.get(&i), decoder[i] >= 0, alpha[i], beta[i])?,
        })
    };
    (0..count).map(node).collect()
}

fn quantiles(
    given: Option<&Floats>,
    needed: bool,
    alpha: f32,
    beta: f32,
) -> PyResult<Box<[f32; LEVELS]>> {
    let given = given.map(|given| given.as_array().to_vec());
    let found = match given {
        Some(given) => given
            .try_into()
            .map_err(|_| bad(format!("quantiles of noise must be {LEVELS}")))?,
        None if needed => {
            let [low, high] = NOISE_PARAMETERS;
            between("noise_alpha", &[alpha], low, high)?;
            between("noise_beta", &[beta], low, high)?;
            beta_quantiles(alpha, beta)
        }
        None => [0.0; LEVELS],
    };
    Ok(Box::new(found))
}
