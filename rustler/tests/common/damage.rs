//! Damage to a store, decoded from bytes: the same program for proptest and for the fuzzer.
//!
//! Each four bytes are one change, (what, a, b, c). Random changes of a file's bytes rarely reach
//! further than its header, so most of the kinds below know where the arrays lie.

use std::path::Path;

use safetensors::SafeTensors;

const ARRAYS: [&str; 10] = [
    "time_value",
    "record_ptr",
    "row_rank",
    "parent_row",
    "child_ptr",
    "child_row",
    "child_rank",
    "dictionary",
    "records",
    "row_source",
];

/// The two files that are checked against each other.
#[derive(Clone)]
pub struct Files {
    pub meta: Vec<u8>,
    pub store: Vec<u8>,
}

impl Files {
    pub fn read(folder: &Path) -> Self {
        let read = |name| std::fs::read(folder.join(name)).unwrap();
        Self {
            meta: read("meta.json"),
            store: read("store.safetensors"),
        }
    }

    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("meta.json"), &self.meta).unwrap();
        std::fs::write(folder.join("store.safetensors"), &self.store).unwrap();
    }

    /// Changes the files as `program` says.
    pub fn damage(&mut self, program: &[u8]) {
        // Places in the file as it was written; they stay right until bytes are cut or inserted.
        let places = places(&self.store);
        for change in program.chunks_exact(4) {
            let &[what, a, b, c] = change else { continue };
            match what % 8 {
                0 => flip(self.file(a), a, b, c),
                1 => truncate(self.file(a), b, c),
                2 => swap_bytes(self.file(a), a, b, c),
                3 | 4 => set_element(&mut self.store, &places[usize::from(a) % 10], b, c),
                5 => swap_elements(&mut self.store, &places[usize::from(a) % 10], b, c),
                6 => set_number(&mut self.meta, a, b, c),
                _ => repeat_or_remove(self.file(a), a, b, c),
            }
        }
    }

    fn file(&mut self, a: u8) -> &mut Vec<u8> {
        if a & 1 == 0 {
            &mut self.meta
        } else {
            &mut self.store
        }
    }
}

/// First byte, bytes an element, elements.
type Place = (usize, usize, usize);

fn places(store: &[u8]) -> [Place; 10] {
    let (size, header) = SafeTensors::read_metadata(store).unwrap();
    ARRAYS.map(|name| {
        let info = header.info(name).unwrap();
        let (start, end) = info.data_offsets;
        let width = info.dtype.bitsize() / 8;
        (8 + size + start, width, (end - start) / width)
    })
}

/// A place in 0..len, if there is one.
fn scaled(b: u8, c: u8, len: usize) -> usize {
    usize::from(u16::from_be_bytes([b, c])) * len / 65536
}

fn flip(file: &mut [u8], a: u8, b: u8, c: u8) {
    let place = scaled(b, c, file.len());
    if let Some(byte) = file.get_mut(place) {
        *byte ^= 1 << (a >> 1 & 7);
    }
}

fn truncate(file: &mut Vec<u8>, b: u8, c: u8) {
    file.truncate(scaled(b, c, file.len()));
}

fn swap_bytes(file: &mut [u8], a: u8, b: u8, c: u8) {
    let first = scaled(b, 0, file.len());
    let second = scaled(c, 0, file.len());
    let len = usize::from(a >> 1) % 16 + 1;
    for i in 0..len.min(file.len().saturating_sub(first.max(second))) {
        file.swap(first + i, second + i);
    }
}

/// A number that is likely to be on one side of some bound.
fn telling(c: u8) -> u64 {
    let small = u64::from(c >> 3);
    match c & 7 {
        0 | 1 => small,
        2 => u64::MAX - small,
        3 => u64::from(u32::MAX) - small,
        4 => (1 << 63) + small,
        5 => 1 << (small * 2),
        6 => u64::from(f32::INFINITY.to_bits()) - 8 + small,
        _ => 0x0101_0101_0101_0101 * u64::from(c),
    }
}

fn set_element(store: &mut [u8], &(start, width, len): &Place, b: u8, c: u8) {
    let element = start + scaled(b, 0, len) * width;
    if let Some(bytes) = store.get_mut(element..element + width) {
        bytes.copy_from_slice(&telling(c).to_le_bytes()[..width]);
    }
}

fn swap_elements(store: &mut [u8], &(start, width, len): &Place, b: u8, c: u8) {
    let (first, second) = (scaled(b, 0, len), scaled(c, 0, len));
    if start + len * width <= store.len() {
        for i in 0..width * len.min(1) {
            store.swap(start + first * width + i, start + second * width + i);
        }
    }
}

/// Puts another number in the place of one of those in `meta.json`.
fn set_number(meta: &mut Vec<u8>, a: u8, b: u8, c: u8) {
    let is_digit = |i: &usize| meta[*i].is_ascii_digit();
    let starts: Vec<usize> = (0..meta.len())
        .filter(|i| is_digit(i) && (*i == 0 || !is_digit(&(i - 1))))
        .collect();
    let Some(&start) = starts.get(scaled(b, 0, starts.len())) else {
        return;
    };
    let end = (start..meta.len())
        .find(|i| !is_digit(i))
        .unwrap_or(meta.len());
    let text = match a % 8 {
        0 => format!("-{}", telling(c)),
        1 => format!("{}.5", c),
        2 => format!("1e{c}"),
        3 => "\"1\"".to_owned(),
        _ => telling(c).to_string(),
    };
    meta.splice(start..end, text.into_bytes());
}

fn repeat_or_remove(file: &mut Vec<u8>, a: u8, b: u8, c: u8) {
    let start = scaled(b, 0, file.len());
    let end = (start + usize::from(c) + 1).min(file.len());
    if a & 2 == 0 {
        file.drain(start..end);
    } else {
        let piece = file[start..end].to_vec();
        file.splice(start..start, piece);
    }
}
