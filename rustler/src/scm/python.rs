//! Models for Python: flat arrays in, arrays out, the GIL released.

use std::collections::HashMap;

use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::activation::ACTIVATIONS;
use super::aggregate::{AGGREGATIONS, Aggregation};
use super::function::{Function, FunctionSpec};
use super::mlp::{LayerSpec, Mlp};
use super::model::{Encoded, Model, Node};
use super::noise::{LEVELS, beta_quantiles};
use super::weights::INITIALIZERS;
use crate::python::convert::{bad, call};

type Floats<'py> = PyReadonlyArray1<'py, f32>;
type NoiseTables<'py> = HashMap<usize, Floats<'py>>;

/// A parent table's encoded columns.
#[pyclass(frozen, module = "rustler")]
pub struct EncodedRows(Encoded);

/// The structural causal model of one table.
#[pyclass(frozen, module = "rustler")]
pub struct TableModel {
    core: Model,
    outputs: Vec<usize>,
}

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
    let layer = |i: usize| LayerSpec {
        initializer: initializer[i],
        density: density[i],
        activation: Some((activation[i], scale[i])),
    };
    Ok((0..total).map(layer).collect())
}

fn functions_of(from: &Bound<'_, PyDict>) -> PyResult<Vec<FunctionSpec>> {
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

fn nodes_of(from: &Bound<'_, PyDict>, tables: &NoiseTables) -> PyResult<Vec<Node>> {
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
        None if needed => beta_quantiles(alpha, beta),
        None => [0.0; LEVELS],
    };
    Ok(Box::new(found))
}

#[pymethods]
impl TableModel {
    #[new]
    #[pyo3(signature = (key, dim, functions, nodes, outputs, quantiles))]
    fn new(
        key: [u8; 32],
        dim: usize,
        functions: &Bound<'_, PyDict>,
        nodes: &Bound<'_, PyDict>,
        outputs: Vec<usize>,
        quantiles: NoiseTables<'_>,
    ) -> PyResult<Self> {
        let specs = functions_of(functions)?;
        let nodes = nodes_of(nodes, &quantiles)?;
        if outputs.iter().any(|&output| output >= nodes.len()) {
            return Err(bad("an output is not among the nodes"));
        }
        let core = call(functions.py(), || Model::new(key, dim, &specs, nodes))?;
        Ok(Self { core, outputs })
    }

    fn encode(
        &self,
        py: Python<'_>,
        first: usize,
        columns: Vec<Floats<'_>>,
        aggregations: Vec<usize>,
    ) -> PyResult<EncodedRows> {
        let columns = slices(&columns)?;
        let kind = |code: usize| Aggregation::ALL.get(code).copied();
        let wanted: Option<Vec<_>> = aggregations.into_iter().map(kind).collect();
        let wanted = wanted.ok_or_else(|| bad("unknown aggregation"))?;
        call(py, || self.core.encode(first, &columns, &wanted)).map(EncodedRows)
    }

    fn propagate<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        count: usize,
        given: HashMap<usize, Floats<'py>>,
        foreign: Vec<(PyRef<'py, EncodedRows>, PyReadonlyArray1<'py, i64>)>,
    ) -> PyResult<Vec<Bound<'py, PyArray1<f32>>>> {
        let mut values = vec![Vec::new(); self.core.num_nodes()];
        for (node, array) in &given {
            let to = values
                .get_mut(*node)
                .ok_or_else(|| bad(format!("no node {node}")))?;
            *to = array.as_array().to_vec();
        }
        let links: Vec<&[i64]> = foreign
            .iter()
            .map(|(_, links)| links.as_slice())
            .collect::<Result<_, _>>()?;
        let foreign: Vec<_> = foreign
            .iter()
            .zip(links)
            .map(|((rows, _), links)| (&rows.0, links))
            .collect();
        call(py, || {
            self.core.propagate(first, count, &mut values, &foreign)
        })?;
        let output = |&node: &usize| values[node].to_pyarray(py);
        Ok(self.outputs.iter().map(output).collect())
    }

    fn noise<'py>(
        &self,
        py: Python<'py>,
        node: usize,
        first: usize,
        count: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let rows = call(py, || self.core.noise(node, first, count))?;
        Ok(rows
            .to_pyarray(py)
            .reshape([count, self.core.dim])?
            .into_any())
    }

    fn function<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyDict>> {
        let function = self.core.functions.get(number);
        let function = function.ok_or_else(|| bad(format!("no function {number}")))?;
        let dict = PyDict::new(py);
        match function {
            Function::Encoder(mlp) => describe(&dict, "encoder", mlp)?,
            Function::Decoder(mlp, categories) => {
                describe(&dict, "decoder", mlp)?;
                dict.set_item("categories", categories)?;
            }
            Function::Constant(components) => {
                dict.set_item("kind", "constant")?;
                dict.set_item("values", components.to_pyarray(py))?;
            }
            Function::Table(table) => {
                dict.set_item("kind", "table")?;
                let values = table
                    .values
                    .to_pyarray(py)
                    .reshape([self.core.dim, table.stride])?;
                dict.set_item("values", values)?;
                dict.set_item("categories", table.categories)?;
            }
        }
        Ok(dict)
    }
}

fn describe(dict: &Bound<'_, PyDict>, kind: &str, mlp: &Mlp) -> PyResult<()> {
    let py = dict.py();
    dict.set_item("kind", kind)?;
    let mut layers = Vec::new();
    for layer in &mlp.layers {
        let matrix = layer.matrix();
        let shape = [matrix.outputs, matrix.inputs];
        let weights = matrix.values.to_pyarray(py).reshape(shape)?.transpose()?;
        let after = layer.activation.as_ref().map(|after| {
            let sine = |s: &super::activation::Sine| (s.amplitude, s.frequency, s.phase);
            let sines: Vec<_> = after.sines.iter().map(sine).collect();
            (ACTIVATIONS[usize::from(after.code)], after.scale, sines)
        });
        layers.push((weights, after));
    }
    dict.set_item("layers", layers)
}

fn slices<'a>(arrays: &'a [Floats<'_>]) -> PyResult<Vec<&'a [f32]>> {
    Ok(arrays
        .iter()
        .map(|array| array.as_slice())
        .collect::<Result<_, _>>()?)
}

/// An activation's values, in place of `x`: for tests.
#[pyfunction]
pub fn activate<'py>(
    py: Python<'py>,
    name: &str,
    x: PyReadonlyArray1<'py, f32>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    use super::activation::Activation;
    use super::block::{ROWS, ZERO};
    let code = ACTIVATIONS.iter().position(|&known| known == name);
    let code = code.ok_or_else(|| bad(format!("unknown activation '{name}'")))?;
    let x = x.as_slice()?;
    let mut lanes = vec![ZERO; x.len().div_ceil(ROWS)];
    for (lane, part) in lanes.iter_mut().zip(x.chunks(ROWS)) {
        lane[..part.len()].copy_from_slice(part);
    }
    let activation = Activation {
        code: code as u8,
        scale: 1.0,
        sines: Vec::new(),
    };
    activation.apply(&mut lanes);
    let flat: Vec<f32> = lanes.concat();
    Ok(flat[..x.len()].to_pyarray(py))
}

/// Matrices [count, inputs, outputs] by the rule of that name, masked: for tests.
#[pyfunction]
pub fn draw_matrices<'py>(
    py: Python<'py>,
    key: [u8; 32],
    shape: [usize; 3],
    initializer: &str,
    density: f32,
) -> PyResult<Bound<'py, PyAny>> {
    use super::random::{Draw, Purpose};
    use super::weights::{draw_matrix, mask};
    let code = INITIALIZERS.iter().position(|&known| known == initializer);
    let code = code.ok_or_else(|| bad(format!("unknown initializer '{initializer}'")))?;
    let [count, inputs, outputs] = shape;
    let mut values = Vec::with_capacity(count * inputs * outputs);
    for number in 0..count {
        let mut draw = Draw::new(&key, Purpose::Function, number);
        let mut matrix = draw_matrix(inputs, outputs, code as u8, &mut draw);
        mask(&mut matrix, density, &mut draw);
        values.extend(matrix.values);
    }
    let values = values.to_pyarray(py).reshape([count, outputs, inputs])?;
    Ok(values.permute(Some([0, 2, 1]))?.into_any())
}
