//! Made-up files that are refused with one line: headers that deceive, names, embeddings, sources.

use std::path::Path;

use rustler::error::Error;
use rustler::store::{Embeddings, FORMAT_VERSION, Store};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

use crate::common::damage::Files;
use crate::common::{examples, folder_in_memory, write};

fn open_damaged(folder: &Path) -> String {
    let message = match Store::open(folder) {
        Ok(_) => panic!("a damaged store was opened"),
        Err(error) => error.to_string(),
    };
    assert!(
        message.starts_with(&folder.display().to_string()),
        "{message}"
    );
    assert!(!message.contains('\n') && message.len() < 1500, "{message}");
    message
}

/// Writes a file with this header and so many bytes of data.
fn write_raw(folder: &Path, header: &Value, data: usize) {
    let mut text = header.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let size = (text.len() as u64).to_le_bytes();
    let bytes = [&size[..], &text, &vec![0; data]].concat();
    std::fs::write(folder.join("store.safetensors"), bytes).unwrap();
}

fn empty_store() -> tempfile::TempDir {
    let folder = folder_in_memory();
    write(folder.path(), &[]);
    folder
}

#[test]
fn sizes_that_wrap_around_are_noticed() {
    let folder = empty_store();
    // Arrays of nearly 2^64 bytes together: an end that, computed modulo 2^64, is the file's own.
    let size = 1_u64 << 60;
    let mut header = json!({"__metadata__": {"format_version": FORMAT_VERSION.to_string()}});
    for i in 0..15 {
        header[format!("a{i}")] =
            json!({"dtype": "U8", "shape": [size], "data_offsets": [i * size, (i + 1) * size]});
    }
    for pad in 0..2000_u64 {
        let end = u64::MAX - pad;
        header["last"] = json!({"dtype": "U8", "shape": [end - 15 * size],
                                "data_offsets": [15 * size, end]});
        write_raw(folder.path(), &header, 64);
        assert!(open_damaged(folder.path()).contains("cut short"));
    }
}

#[test]
fn headers_longer_than_the_file_or_than_any_are_noticed() {
    let folder = empty_store();
    let file = folder.path().join("store.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for size in [0, 1, 1 << 20, 100_000_001, u64::MAX - 7, u64::MAX] {
        let bytes = [&u64::to_le_bytes(size)[..], &whole[8..]].concat();
        std::fs::write(&file, bytes).unwrap();
        assert!(open_damaged(folder.path()).contains("cut short or not safetensors"));
    }
}

#[test]
fn arrays_that_overlap_leave_gaps_or_are_not_aligned_are_noticed() {
    let folder = empty_store();
    let entry = |dtype: &str, len: usize, from: usize, to: usize| json!({"dtype": dtype, "shape": [len], "data_offsets": [from, to]});
    let with = |first: Value, second: Value| {
        let version = json!({"format_version": FORMAT_VERSION.to_string()});
        json!({"__metadata__": version, "time_value": first, "record_ptr": second})
    };
    let pointers = entry("U64", 1, 8, 16);
    for first in [
        entry("I64", 2, 0, 16),
        entry("I64", 1, 4, 12),
        entry("I64", 0, 0, 0),
        entry("I64", 1, 8, 0),
    ] {
        write_raw(folder.path(), &with(first, pointers.clone()), 16);
        open_damaged(folder.path());
    }
    let odd = json!({"__metadata__": {"format_version": FORMAT_VERSION.to_string()}, "odd": entry("U8", 4, 0, 4),
                     "row_source": entry("U32", 0, 4, 4), "time_value": entry("I64", 0, 4, 4)});
    write_raw(folder.path(), &odd, 4);
    assert!(open_damaged(folder.path()).contains("'time_value' is not aligned"));
}

// ---------------------------------------------------------------- names, embeddings, sources

fn change_meta(folder: &Path, change: impl Fn(&mut Value)) {
    let path = folder.join("meta.json");
    let mut meta: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut meta);
    std::fs::write(path, meta.to_string()).unwrap();
}

fn shop() -> tempfile::TempDir {
    let folder = folder_in_memory();
    write(folder.path(), &examples::all()[0]);
    folder
}

#[test]
fn messages_stay_one_line_whatever_names_are() {
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("or\nders\u{2028}");
        meta["tables"][1]["rows"] = json!([3, 2]);
    });
    assert!(open_damaged(folder.path()).contains(r"table 'or\nders\u{2028}' has rows"));
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("x".repeat(100_000));
    });
    open_damaged(folder.path());
    let other = json!({"__metadata__": {"format_version": "2\n1"}});
    let folder = empty_store();
    write_raw(folder.path(), &other, 0);
    let message = Store::open(folder.path())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(message.contains(r"format version '2\n1', but"), "{message}");
    change_meta(folder.path(), |meta| {
        meta["format_version"] = json!(vec![0; 1000])
    });
    let message = Store::open(folder.path())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(message.len() < 1500 && message.contains("format version [0,0,0"));
}

#[test]
fn names_are_unique() {
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("t0")
    });
    assert!(open_damaged(folder.path()).contains("two tables are named 't0'"));
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][2]["name"] = json!("t0")
    });
    assert!(
        Store::open(folder.path()).is_ok(),
        "a task may be named like a table"
    );
    change_meta(folder.path(), |meta| {
        meta["columns"][1]["name"] = json!("c0")
    });
    assert!(open_damaged(folder.path()).contains("two columns of table 0 are named 'c0'"));
}

#[test]
fn every_row_of_a_file_has_one_row_of_the_store() {
    let folder = shop();
    let whole = Files::read(folder.path());
    // The first row's source becomes 1, which the second row has, and a row that is none.
    for value in [0b0000_1000, 0b0001_1000] {
        let mut files = whole.clone();
        files.damage(&[3, 9, 0, value]);
        files.write(folder.path());
        assert!(open_damaged(folder.path()).contains("row_source["));
    }
}

#[test]
fn embeddings_are_finite() {
    let folder = shop();
    let store = Store::open(folder.path()).unwrap();
    let texts = store.meta.num_texts as usize;
    let mut bytes = vec![0; texts * 4 * 2];
    let save = |bytes: &[u8]| {
        let view = TensorView::new(Dtype::F16, vec![texts, 4], bytes).unwrap();
        let file = serialize([("embedding", view)], None).unwrap();
        std::fs::write(folder.path().join("text.hash.safetensors"), file).unwrap();
    };
    save(&bytes);
    assert!(Embeddings::open(&store, "hash").is_ok());
    bytes[2 * 4 * 2 + 3] = 0x7c;
    save(&bytes);
    let Err(Error::Damaged { what, .. }) = Embeddings::open(&store, "hash") else {
        panic!("an infinite embedding was accepted");
    };
    assert_eq!(what, "the embedding of text 2 is not finite");
}
