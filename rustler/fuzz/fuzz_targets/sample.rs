//! Contexts from a damaged store: one byte chooses a store, the others are a program of damage.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[path = "../../tests/common/mod.rs"]
mod common;

use common::damage::Files;
use common::{examples, exercise};

/// A folder for each example, with its files as they were written.
static STORES: LazyLock<Vec<(TempDir, Files)>> = LazyLock::new(|| {
    let make = |tables: &Vec<common::Table>| {
        let folder = common::folder_in_memory();
        common::write(folder.path(), tables);
        let files = Files::read(folder.path());
        (folder, files)
    };
    examples::all().iter().map(make).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, program)) = data.split_first() else {
        return;
    };
    let (folder, files) = &STORES[usize::from(which) % STORES.len()];
    let mut files = files.clone();
    files.damage(program);
    files.write(folder.path());
    let _ = exercise::exercise(folder.path());
});
