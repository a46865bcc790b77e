//! Writes the seeds of both targets into corpus/: the example stores as they are, and a program of
//! each kind of damage. `cargo run --bin seeds` in this folder.

use std::fs;
use std::path::Path;

#[path = "../tests/common/mod.rs"]
mod common;

use common::damage::Files;
use common::examples;

fn main() -> std::io::Result<()> {
    let corpus = Path::new("corpus");
    for target in ["open_store", "sample"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    for (number, tables) in examples::all().iter().enumerate() {
        let folder = common::folder_in_memory();
        common::write(folder.path(), tables);
        let files = Files::read(folder.path());
        let mut bytes = (files.meta.len() as u32).to_le_bytes().to_vec();
        bytes.extend([files.meta, files.store].concat());
        fs::write(corpus.join(format!("open_store/example_{number}")), bytes)?;
        for kind in 0..8 {
            let program = [number as u8, kind, 3, 100, 17, kind, 4, 200, 90];
            fs::write(corpus.join(format!("sample/example_{number}_{kind}")), program)?;
        }
    }
    Ok(())
}
