//! Models for Python: flat arrays in, arrays out, the GIL released.

pub mod spec;

use std::collections::HashMap;

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use self::spec::{Floats, MAX_DIM, NoiseTables, functions_of, nodes_of};
use super::activation::ACTIVATIONS;
use super::aggregate::Aggregation;
use super::encoded::Encoded;
use super::function::Function;
use super::mlp::Mlp;
use super::model::Model;
use super::weights::INITIALIZERS;
use crate::python::convert::{bad, guard};

/// A parent table's encoded columns.
#[pyclass(frozen, module = "rustler")]
pub struct EncodedRows(Encoded);

#[pymethods]
impl EncodedRows {
    fn rows<'py>(&self, py: Python<'py>, aggregation: usize) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let kind = Aggregation::ALL.get(aggregation);
            let kind = kind.ok_or_else(|| bad("unknown aggregation"))?;
            let rows = self.0.rows(*kind).to_pyarray(py);
            Ok(rows
                .reshape([self.0.rows(*kind).len() / self.0.dim, self.0.dim])?
                .into_any())
        })
    }
}

/// The structural causal model of one table.
#[pyclass(frozen, module = "rustler")]
pub struct TableModel {
    core: Model,
    outputs: Vec<usize>,
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
        guard(|| {
            if dim > MAX_DIM {
                return Err(bad(format!("dim is {dim}, at most {MAX_DIM} is possible")));
            }
            let specs = functions_of(functions)?;
            let nodes = nodes_of(nodes, &quantiles)?;
            if outputs.iter().any(|&output| output >= nodes.len()) {
                return Err(bad("an output is not among the nodes"));
            }
            let py = functions.py();
            let core = py.detach(|| Model::new(key, dim, &specs, nodes))?;
            Ok(Self { core, outputs })
        })
    }

    fn encode(
        &self,
        py: Python<'_>,
        first: usize,
        columns: Vec<Floats<'_>>,
        aggregations: Vec<usize>,
    ) -> PyResult<EncodedRows> {
        guard(|| {
            let columns = slices(&columns)?;
            let kind = |code: usize| Aggregation::ALL.get(code).copied();
            let wanted: Option<Vec<_>> = aggregations.into_iter().map(kind).collect();
            let wanted = wanted.ok_or_else(|| bad("unknown aggregation"))?;
            let encoded = py.detach(|| self.core.encode(first, &columns, &wanted))?;
            Ok(EncodedRows(encoded))
        })
    }

    fn propagate<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        count: usize,
        given: HashMap<usize, Floats<'py>>,
        foreign: Vec<(PyRef<'py, EncodedRows>, PyReadonlyArray1<'py, i64>)>,
    ) -> PyResult<Vec<Bound<'py, PyArray1<f32>>>> {
        guard(|| {
            check_size(count, 1)?;
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
            py.detach(|| self.core.propagate(first, count, &mut values, &foreign))?;
            let output = |&node: &usize| values[node].to_pyarray(py);
            Ok(self.outputs.iter().map(output).collect())
        })
    }

    fn noise<'py>(
        &self,
        py: Python<'py>,
        node: usize,
        first: usize,
        count: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            check_size(count, self.core.dim)?;
            let rows = py.detach(|| self.core.noise(node, first, count))?;
            Ok(rows
                .to_pyarray(py)
                .reshape([count, self.core.dim])?
                .into_any())
        })
    }

    fn function<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
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
        })
    }
}

/// Refuses arrays of more than 2^31 numbers: where memory runs out, the process ends.
fn check_size(count: usize, each: usize) -> PyResult<()> {
    match count.checked_mul(each) {
        Some(size) if size <= 1 << 31 => Ok(()),
        _ => Err(bad(format!("{count} times {each} numbers are too many"))),
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
    guard(|| {
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
        let flat: Vec<f32> = lanes.iter().flat_map(|lane| lane.0).collect();
        Ok(flat[..x.len()].to_pyarray(py))
    })
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
    guard(|| {
        use super::random::{Draw, Purpose};
        use super::weights::{draw_matrix, mask};
        let code = INITIALIZERS.iter().position(|&known| known == initializer);
        let code = code.ok_or_else(|| bad(format!("unknown initializer '{initializer}'")))?;
        let [count, inputs, outputs] = shape;
        if inputs == 0 || outputs == 0 || !(1e-3..=1.0).contains(&density) {
            return Err(bad(
                "matrices need inputs, outputs and a density in 0.001..1",
            ));
        }
        check_size(count, inputs.saturating_mul(outputs))?;
        let mut values = Vec::with_capacity(count * inputs * outputs);
        for number in 0..count {
            let mut draw = Draw::new(&key, Purpose::Function, number);
            let mut matrix = draw_matrix(inputs, outputs, code as u8, &mut draw);
            mask(&mut matrix, density, &mut draw);
            values.extend(matrix.values);
        }
        let values = values.to_pyarray(py).reshape([count, outputs, inputs])?;
        Ok(values.permute(Some([0, 2, 1]))?.into_any())
    })
}
