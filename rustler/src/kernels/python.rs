//! The kernels for Python: numpy arrays in, given numpy arrays filled, the GIL released.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::attention::{self, Input};
use super::backward::{self, Saved};
use super::groups::{GroupArrays, Groups};
use super::{KernelError, norm, swiglu};
use crate::python::convert::guard;

type Ints<'py> = PyReadonlyArray1<'py, i32>;
/// query_ptr, query, key_ptr, key, group_ptr, cell_ptr.
type PyGroups<'py> = (
    Ints<'py>,
    Ints<'py>,
    Ints<'py>,
    Ints<'py>,
    Ints<'py>,
    Ints<'py>,
);
type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;
type FloatsMut<'py> = PyReadwriteArrayDyn<'py, f32>;

impl From<KernelError> for PyErr {
    fn from(error: KernelError) -> PyErr {
        PyValueError::new_err(error.to_string())
    }
}

fn groups_of<'a>(groups: &'a PyGroups<'_>) -> PyResult<Groups<'a>> {
    Ok(Groups::new(&GroupArrays {
        query_ptr: groups.0.as_slice()?,
        query: groups.1.as_slice()?,
        key_ptr: groups.2.as_slice()?,
        key: groups.3.as_slice()?,
        group_ptr: groups.4.as_slice()?,
        cell_ptr: groups.5.as_slice()?,
    })?)
}

fn input_of<'a>(
    qkv: &'a Floats<'_>,
    weight: Option<&'a Floats<'_>>,
    groups: &'a PyGroups<'_>,
) -> PyResult<Input<'a>> {
    let &[_, 3, heads, dim] = qkv.shape() else {
        return Err(PyValueError::new_err(
            "qkv must have the shape [N, 3, H, D]",
        ));
    };
    Ok(Input {
        qkv: qkv.as_slice()?,
        weight: weight.map(|w| w.as_slice()).transpose()?,
        groups: groups_of(groups)?,
        heads,
        dim,
    })
}

#[pyfunction]
#[pyo3(signature = (qkv, weight, groups, out, lse, num_threads))]
pub fn attention_forward(
    py: Python<'_>,
    qkv: Floats<'_>,
    weight: Option<Floats<'_>>,
    groups: PyGroups<'_>,
    mut out: FloatsMut<'_>,
    mut lse: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let input = input_of(&qkv, weight.as_ref(), &groups)?;
        let (out, lse) = (out.as_slice_mut()?, lse.as_slice_mut()?);
        Ok(py.detach(|| attention::forward(&input, out, lse, num_threads))?)
    })
}

/// Saved: out, lse, grad_out. Gradients: grad_qkv, grad_weight.
#[pyfunction]
#[pyo3(signature = (qkv, weight, groups, saved, gradients, num_threads))]
pub fn attention_backward(
    py: Python<'_>,
    qkv: Floats<'_>,
    weight: Option<Floats<'_>>,
    groups: PyGroups<'_>,
    saved: (Floats<'_>, Floats<'_>, Floats<'_>),
    gradients: (FloatsMut<'_>, FloatsMut<'_>),
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let input = input_of(&qkv, weight.as_ref(), &groups)?;
        let saved = Saved {
            out: saved.0.as_slice()?,
            lse: saved.1.as_slice()?,
            grad_out: saved.2.as_slice()?,
        };
        let (mut grad_qkv, mut grad_weight) = gradients;
        let (grad_qkv, grad_weight) = (grad_qkv.as_slice_mut()?, grad_weight.as_slice_mut()?);
        Ok(py.detach(|| backward::backward(&input, &saved, grad_qkv, grad_weight, num_threads))?)
    })
}

#[pyfunction]
pub fn norm_forward(
    py: Python<'_>,
    x: Floats<'_>,
    mut y: FloatsMut<'_>,
    mut factor: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let (x, y, factor) = (x.as_slice()?, y.as_slice_mut()?, factor.as_slice_mut()?);
        Ok(py.detach(|| norm::norm_forward(x, y, factor, num_threads))?)
    })
}

#[pyfunction]
pub fn norm_backward(
    py: Python<'_>,
    saved: (Floats<'_>, Floats<'_>),
    grad_y: Floats<'_>,
    grad_residual: Floats<'_>,
    mut grad_x: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let saved = (saved.0.as_slice()?, saved.1.as_slice()?);
        let (grad_y, grad_residual) = (grad_y.as_slice()?, grad_residual.as_slice()?);
        let grad_x = grad_x.as_slice_mut()?;
        Ok(py.detach(|| norm::norm_backward(saved, grad_y, grad_residual, grad_x, num_threads))?)
    })
}

#[pyfunction]
pub fn swiglu_forward(
    py: Python<'_>,
    gates: Floats<'_>,
    mut a: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let width = last_dimension(a.shape());
        let (gates, a) = (gates.as_slice()?, a.as_slice_mut()?);
        Ok(py.detach(|| swiglu::swiglu_forward(gates, a, width, num_threads))?)
    })
}

#[pyfunction]
pub fn swiglu_backward(
    py: Python<'_>,
    gates: Floats<'_>,
    mut grad_a: FloatsMut<'_>,
    mut grad_gates: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let width = last_dimension(grad_a.shape());
        let (gates, grad_a) = (gates.as_slice()?, grad_a.as_slice_mut()?);
        let grad_gates = grad_gates.as_slice_mut()?;
        Ok(py.detach(|| swiglu::swiglu_backward(gates, grad_a, grad_gates, width, num_threads))?)
    })
}

fn last_dimension(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(0)
}
