//! A memory-mapped safetensors file: the only place with unsafe code on the data side.

use std::fs::File;
use std::marker::PhantomData;
use std::path::PathBuf;

use half::f16;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use crate::error::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!("the store's arrays are little-endian and are mapped as they are");

/// Element types that may be read from mapped bytes.
///
/// # Safety
/// Every bit pattern must be a value of the type, and its layout must be that of `DTYPE`.
pub unsafe trait Element: Copy {
    const DTYPE: Dtype;
}
// SAFETY: plain integers and floats have no invalid bit patterns and the stated layout.
unsafe impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}
// SAFETY: as above.
unsafe impl Element for u64 {
    const DTYPE: Dtype = Dtype::U64;
}
// SAFETY: as above.
unsafe impl Element for i64 {
    const DTYPE: Dtype = Dtype::I64;
}
// SAFETY: as above; f16 is a transparent u16.
unsafe impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

/// Where an array lies in its file: checked to be inside and aligned.
#[derive(Clone, Copy)]
pub struct Array<T> {
    offset: usize,
    len: usize,
    element: PhantomData<fn() -> T>,
}

/// A mapped safetensors file with its parsed header.
pub struct Mapped {
    pub path: PathBuf,
    map: Mmap,
    pub header: Metadata,
    /// Where the data begins.
    start: usize,
}

impl Mapped {
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        // SAFETY: the map is private to this process and read only. Store files are written to a
        // temporary neighbour and renamed, never changed in place, so the bytes stay as checked.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, e))?;
        let (size, header) = SafeTensors::read_metadata(&map)
            .map_err(|e| Error::damaged(&path, format!("cut short or not safetensors ({e})")))?;
        Ok(Self {
            start: 8 + size,
            path,
            map,
            header,
        })
    }

    /// The place of array `name`; `shape` None stands for any length.
    pub fn array<T: Element>(&self, name: &str, shape: &[Option<usize>]) -> Result<Array<T>> {
        let damaged = |what: String| Err(Error::damaged(&self.path, what));
        let Some(info) = self.header.info(name) else {
            return damaged(format!("array '{name}' is missing"));
        };
        if info.dtype != T::DTYPE {
            return damaged(format!(
                "array '{name}' has type {:?}, expected {:?}",
                info.dtype,
                T::DTYPE
            ));
        }
        let fits = info.shape.len() == shape.len()
            && std::iter::zip(&info.shape, shape).all(|(a, b)| b.is_none_or(|b| *a == b));
        if !fits {
            return damaged(format!(
                "array '{name}' has shape {:?}, expected {}",
                info.shape,
                listed(shape)
            ));
        }
        let offset = self.start + info.data_offsets.0;
        let len: usize = info.shape.iter().product();
        if !offset.is_multiple_of(align_of::<T>()) {
            return damaged(format!("array '{name}' is not aligned"));
        }
        let inside = len
            .checked_mul(size_of::<T>())
            .and_then(|n| n.checked_add(offset));
        if inside.is_none_or(|end| end > self.map.len()) {
            return damaged(format!("array '{name}' ends behind the file's end"));
        }
        Ok(Array {
            offset,
            len,
            element: PhantomData,
        })
    }

    pub fn slice<T: Element>(&self, array: Array<T>) -> &[T] {
        // SAFETY: `array` was made by `Mapped::array` of the same file, which checked that offset
        // and length lie inside the map and that the offset is aligned (maps begin on a page);
        // `Element` makes every bit pattern valid; the slice borrows the map.
        unsafe {
            let first = self.map.as_ptr().add(array.offset).cast::<T>();
            std::slice::from_raw_parts(first, array.len)
        }
    }
}

fn listed(shape: &[Option<usize>]) -> String {
    let sizes = shape
        .iter()
        .map(|size| size.map_or("any".to_owned(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
