//! Any bytes as a store's two files: four bytes, the length of meta.json; meta.json; the arrays.
//! Opening gives a store that can be read or an error, never a panic.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[path = "../../tests/common/mod.rs"]
mod common;

use common::damage::Files;
use common::exercise;

static FOLDER: LazyLock<TempDir> = LazyLock::new(common::folder_in_memory);

fuzz_target!(|data: &[u8]| {
    let Some((len, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let len = u32::from_le_bytes(*len) as usize;
    let (meta, store) = rest.split_at(len.min(rest.len()));
    Files {
        meta: meta.to_vec(),
        store: store.to_vec(),
    }
    .write(FOLDER.path());
    // Without embeddings: those files are too regular to be worth the time.
    if let Ok(store) = rustler::store::Store::open(FOLDER.path()) {
        exercise::read_all(&store);
    }
});
