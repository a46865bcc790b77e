//! The kernels for Python: numpy arrays in, given numpy arrays filled, the GIL released.
//!
//! Numbers are float32, or bfloat16 as the uint16 of the same bits: numpy has no bfloat16.

use half::bf16;
use half::slice::HalfBitsSliceExt;
use numpy::{
    PyArrayDescrMethods, PyReadonlyArray1, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::attention::{self, Input, Qkv};
use super::backward::{self, Saved};
use super::element::Element;
use super::groups::{GroupArrays, Groups};
use super::norm::{self, Copies};
use super::{KernelError, swiglu, transpose};
use crate::python::convert::guard;

type Ints<'py> = PyReadonlyArray1<'py, i32>;
type Any<'a, 'py> = &'a Bound<'py, PyAny>;
type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;
type FloatsMut<'py> = PyReadwriteArrayDyn<'py, f32>;

impl From<KernelError> for PyErr {
    fn from(error: KernelError) -> PyErr {
        PyValueError::new_err(error.to_string())
    }
}

/// An element and what it is in numpy.
trait Stored: Element {
    type Raw: numpy::Element;
    fn read(raw: &[Self::Raw]) -> &[Self];
    fn write(raw: &mut [Self::Raw]) -> &mut [Self];
}

impl Stored for f32 {
    type Raw = f32;
    fn read(raw: &[f32]) -> &[f32] {
        raw
    }
    fn write(raw: &mut [f32]) -> &mut [f32] {
        raw
    }
}

impl Stored for bf16 {
    type Raw = u16;
    fn read(raw: &[u16]) -> &[bf16] {
        raw.reinterpret_cast()
    }
    fn write(raw: &mut [u16]) -> &mut [bf16] {
        raw.reinterpret_cast_mut()
    }
}

type Numbers<'py, T> = PyReadonlyArrayDyn<'py, <T as Stored>::Raw>;
type NumbersMut<'py, T> = PyReadwriteArrayDyn<'py, <T as Stored>::Raw>;

/// Calls a function for the type that an array holds.
macro_rules! by_type {
    ($array:expr, $function:ident($($argument:expr),*)) => {
        if $array.cast::<PyUntypedArray>()?.dtype().num() == numpy::dtype::<u16>($array.py()).num() {
            $function::<bf16>($($argument),*)
        } else {
            $function::<f32>($($argument),*)
        }
    };
}

/// One mask of a batch, checked once for all its uses.
#[pyclass(frozen, module = "rustler", name = "Groups")]
pub struct PyGroups(Groups);

#[pymethods]
impl PyGroups {
    #[new]
    fn new(
        query_ptr: Ints<'_>,
        query: Ints<'_>,
        key_ptr: Ints<'_>,
        key: Ints<'_>,
        group_ptr: Ints<'_>,
        query_row_ptr: Ints<'_>,
        key_row_ptr: Ints<'_>,
    ) -> PyResult<Self> {
        guard(|| {
            Ok(PyGroups(Groups::new(&GroupArrays {
                query_ptr: query_ptr.as_slice()?,
                query: query.as_slice()?,
                key_ptr: key_ptr.as_slice()?,
                key: key.as_slice()?,
                group_ptr: group_ptr.as_slice()?,
                query_row_ptr: query_row_ptr.as_slice()?,
                key_row_ptr: key_row_ptr.as_slice()?,
            })?))
        })
    }
}

/// Queries, keys and values as they come: one array, or queries apart from keys and values.
type Arrays<'py> = Vec<Bound<'py, PyAny>>;

fn shape_error() -> PyErr {
    PyValueError::new_err("want [qkv], [N, 3, H, D], or [q, kv], [M, H, D] and [K, 2, H, D]")
}

fn read_all<'py, T: Stored>(arrays: &Arrays<'py>) -> PyResult<Vec<Numbers<'py, T>>> {
    arrays.iter().map(|array| array.extract()).collect()
}

fn input_of<'a, T: Stored>(
    qkv: &'a [Numbers<'_, T>],
    weight: Option<&'a Floats<'_>>,
    groups: &'a PyGroups,
) -> PyResult<Input<'a, T>> {
    let (heads, dim) = match qkv {
        [all] => match *all.shape() {
            [_, 3, heads, dim] => (heads, dim),
            _ => return Err(shape_error()),
        },
        [q, kv] => match (q.shape(), kv.shape()) {
            (&[_, heads, dim], &[_, 2, h, d]) if (h, d) == (heads, dim) => (heads, dim),
            _ => return Err(shape_error()),
        },
        _ => return Err(shape_error()),
    };
    let read = |array: &'a Numbers<'_, T>| PyResult::Ok(T::read(array.as_slice()?));
    Ok(Input {
        qkv: match qkv {
            [q, kv] => Qkv::Apart(read(q)?, read(kv)?),
            all => Qkv::Joint(read(&all[0])?),
        },
        weight: weight.map(|w| w.as_slice()).transpose()?,
        groups: &groups.0,
        heads,
        dim,
    })
}

/// The array whose type is that of all.
fn first<'a, 'py>(arrays: &'a Arrays<'py>) -> PyResult<Any<'a, 'py>> {
    arrays.first().ok_or_else(shape_error)
}

#[pyfunction]
#[pyo3(signature = (qkv, weight, groups, out, lse, num_threads))]
pub fn attention_forward(
    qkv: Arrays<'_>,
    weight: Option<Floats<'_>>,
    groups: &PyGroups,
    out: Any,
    lse: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let given = first(&qkv)?;
        by_type!(given, attend(&qkv, weight, groups, (out, lse), num_threads))
    })
}

fn attend<T: Stored>(
    qkv: &Arrays<'_>,
    weight: Option<Floats<'_>>,
    groups: &PyGroups,
    (out, mut lse): (Any, FloatsMut<'_>),
    num_threads: usize,
) -> PyResult<()> {
    let py = out.py();
    let (qkv, mut out): (_, NumbersMut<T>) = (read_all::<T>(qkv)?, out.extract()?);
    let input = input_of::<T>(&qkv, weight.as_ref(), groups)?;
    let (out, lse) = (T::write(out.as_slice_mut()?), lse.as_slice_mut()?);
    Ok(py.detach(|| attention::forward(&input, out, lse, num_threads))?)
}

/// Saved: out, lse, grad_out. Gradients: of qkv, as it came, and grad_weight.
#[pyfunction]
#[pyo3(signature = (qkv, weight, groups, saved, gradients, num_threads))]
pub fn attention_backward(
    qkv: Arrays<'_>,
    weight: Option<Floats<'_>>,
    groups: &PyGroups,
    saved: (Bound<'_, PyAny>, Floats<'_>, Bound<'_, PyAny>),
    gradients: (Arrays<'_>, FloatsMut<'_>),
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        let given = first(&qkv)?;
        let of = (&qkv, weight, groups);
        by_type!(given, attend_backward(of, saved, gradients, num_threads))
    })
}

fn attend_backward<T: Stored>(
    (qkv, weight, groups): (&Arrays<'_>, Option<Floats<'_>>, &PyGroups),
    (out, lse, grad_out): (Bound<'_, PyAny>, Floats<'_>, Bound<'_, PyAny>),
    (grad_qkv, mut grad_weight): (Arrays<'_>, FloatsMut<'_>),
    num_threads: usize,
) -> PyResult<()> {
    let py = out.py();
    let qkv = read_all::<T>(qkv)?;
    let (out, grad_out): (Numbers<T>, Numbers<T>) = (out.extract()?, grad_out.extract()?);
    let mut grad_qkv = grad_qkv
        .iter()
        .map(|array| array.extract())
        .collect::<PyResult<Vec<NumbersMut<T>>>>()?;
    let input = input_of::<T>(&qkv, weight.as_ref(), groups)?;
    let saved = Saved {
        out: T::read(out.as_slice()?),
        lse: lse.as_slice()?,
        grad_out: T::read(grad_out.as_slice()?),
    };
    let grad_qkv = match grad_qkv.as_mut_slice() {
        [all] => Qkv::Joint(T::write(all.as_slice_mut()?)),
        [q, kv] => Qkv::Apart(T::write(q.as_slice_mut()?), T::write(kv.as_slice_mut()?)),
        _ => return Err(shape_error()),
    };
    let grad_weight = grad_weight.as_slice_mut()?;
    Ok(py.detach(|| backward::backward(&input, &saved, grad_qkv, grad_weight, num_threads))?)
}

#[pyfunction]
#[pyo3(signature = (x, update, y, factor, num_threads))]
pub fn norm_forward(
    x: FloatsMut<'_>,
    update: Option<Bound<'_, PyAny>>,
    y: Any,
    factor: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    guard(|| by_type!(y, normalise(x, update, y, factor, num_threads)))
}

fn normalise<T: Stored>(
    mut x: FloatsMut<'_>,
    update: Option<Bound<'_, PyAny>>,
    y: Any,
    mut factor: FloatsMut<'_>,
    num_threads: usize,
) -> PyResult<()> {
    let (py, mut y): (_, NumbersMut<T>) = (y.py(), y.extract()?);
    let update: Option<Numbers<T>> = update.map(|u| u.extract()).transpose()?;
    let update = update.as_ref().map(|u| u.as_slice()).transpose()?;
    let update = update.map(T::read);
    let (x, factor) = (x.as_slice_mut()?, factor.as_slice_mut()?);
    let y = T::write(y.as_slice_mut()?);
    Ok(py.detach(|| norm::norm_forward(x, update, y, factor, num_threads))?)
}

/// Saved: y, factor. Copies: grad, grad_transposed, y_transposed.
#[pyfunction]
pub fn norm_backward(
    saved: (Bound<'_, PyAny>, Floats<'_>),
    grad_y: Any,
    grad_x: FloatsMut<'_>,
    copies: [Bound<'_, PyAny>; 3],
    num_threads: usize,
) -> PyResult<()> {
    guard(|| {
        by_type!(
            grad_y,
            normalise_backward(saved, grad_y, grad_x, copies, num_threads)
        )
    })
}

fn normalise_backward<T: Stored>(
    (y, factor): (Bound<'_, PyAny>, Floats<'_>),
    grad_y: Any,
    mut grad_x: FloatsMut<'_>,
    [grad, grad_transposed, y_transposed]: [Bound<'_, PyAny>; 3],
    num_threads: usize,
) -> PyResult<()> {
    let py = grad_y.py();
    let (y, grad_y): (Numbers<T>, Numbers<T>) = (y.extract()?, grad_y.extract()?);
    let mut grad: NumbersMut<T> = grad.extract()?;
    let mut grad_transposed: NumbersMut<T> = grad_transposed.extract()?;
    let mut y_transposed: NumbersMut<T> = y_transposed.extract()?;
    let saved = (T::read(y.as_slice()?), factor.as_slice()?);
    let copies = Copies {
        grad: T::write(grad.as_slice_mut()?),
        grad_transposed: T::write(grad_transposed.as_slice_mut()?),
        y_transposed: T::write(y_transposed.as_slice_mut()?),
    };
    let (grad_y, grad_x) = (T::read(grad_y.as_slice()?), grad_x.as_slice_mut()?);
    Ok(py.detach(|| norm::norm_backward(saved, grad_y, grad_x, copies, num_threads))?)
}

#[pyfunction]
pub fn swiglu_forward(gates: Any, a: Any, num_threads: usize) -> PyResult<()> {
    guard(|| by_type!(gates, gate(gates, a, num_threads)))
}

fn gate<T: Stored>(gates: Any, a: Any, num_threads: usize) -> PyResult<()> {
    let (py, gates, mut a): (_, Numbers<T>, NumbersMut<T>) =
        (gates.py(), gates.extract()?, a.extract()?);
    let width = last_dimension(a.shape());
    let (gates, a) = (T::read(gates.as_slice()?), T::write(a.as_slice_mut()?));
    Ok(py.detach(|| swiglu::swiglu_forward(gates, a, width, num_threads))?)
}

#[pyfunction]
pub fn swiglu_backward(gates: Any, grad_a: Any, num_threads: usize) -> PyResult<()> {
    guard(|| by_type!(gates, gate_backward(gates, grad_a, num_threads)))
}

fn gate_backward<T: Stored>(gates: Any, grad_a: Any, num_threads: usize) -> PyResult<()> {
    let (py, mut gates, mut grad_a): (_, NumbersMut<T>, NumbersMut<T>) =
        (gates.py(), gates.extract()?, grad_a.extract()?);
    let width = last_dimension(grad_a.shape());
    let (gates, grad_a) = (
        T::write(gates.as_slice_mut()?),
        T::write(grad_a.as_slice_mut()?),
    );
    Ok(py.detach(|| swiglu::swiglu_backward(gates, grad_a, width, num_threads))?)
}

#[pyfunction]
pub fn transpose_rows(x: Any, to: Any, num_threads: usize) -> PyResult<()> {
    guard(|| by_type!(x, turn(x, to, num_threads)))
}

fn turn<T: Stored>(x: Any, to: Any, num_threads: usize) -> PyResult<()> {
    let (py, x, mut to): (_, Numbers<T>, NumbersMut<T>) = (x.py(), x.extract()?, to.extract()?);
    let width = last_dimension(x.shape());
    let (x, to) = (T::read(x.as_slice()?), T::write(to.as_slice_mut()?));
    Ok(py.detach(|| transpose::transpose(x, to, width, num_threads))?)
}

fn last_dimension(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(0)
}
