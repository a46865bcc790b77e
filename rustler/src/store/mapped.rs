//! A memory-mapped safetensors file: the only place with unsafe code on the data side.

use std::fs::File;
use std::marker::PhantomData;
use std::path::PathBuf;

use half::f16;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata};

use crate::error::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!("the store's arrays are little-endian and are mapped as they are");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("the store's offsets have 64 bits and are used as indices");

/// Longest header that is read, as in safetensors.
const MAX_HEADER: u64 = 100_000_000;

/// Element types that may be read from mapped bytes.
///
/// # Safety
/// Every bit pattern must be a value of the type, and its layout must be that of `DTYPE`.
pub unsafe trait Element: Copy {
    const DTYPE: Dtype;
}
// SAFETY: plain integers and floats have no invalid bit patterns and the stated layout.
unsafe impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}
// SAFETY: as above.
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
        // SAFETY: the map is read only. Store files are written to a temporary neighbour and
        // renamed, never changed in place, so the bytes stay as checked (see `Store`).
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, e))?;
        let (start, header) = read_header(&map).map_err(|what| {
            Error::damaged(&path, format!("cut short or not safetensors ({what})"))
        })?;
        check_sum(&header, &map[start..]).map_err(|what| Error::damaged(&path, what))?;
        Ok(Self {
            start,
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
        // The header was checked, so none of this can fail; what is unsafe below relies on it.
        let offset = self.start.checked_add(info.data_offsets.0);
        let len = info
            .shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size));
        let (Some(offset), Some(len)) = (offset, len) else {
            return damaged(format!("array '{name}' is too large"));
        };
        if !offset.is_multiple_of(align_of::<T>()) {
            return damaged(format!("array '{name}' is not aligned"));
        }
        let bytes = len.checked_mul(size_of::<T>());
        let end = bytes.and_then(|n| n.checked_add(offset));
        if end.is_none_or(|end| end > self.map.len()) {
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

/// Where the data begin, and the header. `Metadata` checks that the arrays follow each other
/// without gaps and that their shapes have their sizes; here the sum is compared with the file,
/// because `SafeTensors::read_metadata` adds without a check: sizes near 2^64 wrap around there.
fn read_header(file: &[u8]) -> std::result::Result<(usize, Metadata), String> {
    let Some((size, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!("{} bytes", file.len()));
    };
    let size = u64::from_le_bytes(*size);
    if size > MAX_HEADER {
        return Err(format!("a header of {size} bytes"));
    }
    let Some((header, data)) = rest.split_at_checked(size as usize) else {
        return Err(format!("{size} bytes of header in {}", rest.len()));
    };
    let header: Metadata = serde_json::from_slice(header).map_err(|e| e.to_string())?;
    if header.data_len() != data.len() {
        return Err(format!(
            "{} bytes of data, expected {}",
            data.len(),
            header.data_len()
        ));
    }
    Ok((file.len() - data.len(), header))
}

/// Compares the data with the checksum that the header has, if it has one: an index or a value that
/// changed on the disk may still be one.
fn check_sum(header: &Metadata, data: &[u8]) -> std::result::Result<(), String> {
    let noted = header
        .metadata()
        .as_ref()
        .and_then(|notes| notes.get("crc32"));
    let found = format!("{:08x}", crc32fast::hash(data));
    match noted {
        Some(noted) if *noted != found => Err(format!(
            "its data have the checksum {found}, not {noted}: bytes have changed"
        )),
        _ => Ok(()),
    }
}

fn listed(shape: &[Option<usize>]) -> String {
    let sizes = shape
        .iter()
        .map(|size| size.map_or("any".to_owned(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
