//! A sampler's settings and stores, and what has to hold between them.

use std::path::PathBuf;

use crate::error::{Result, argument};
use crate::store::{Embeddings, Store};

/// Most slots of a batch, and of a context.
const MAX_SLOTS: usize = 1 << 28;

/// See `rustler.pyi`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub embedder: String,
    pub context_length: usize,
    pub max_bfs_width: usize,
    pub batch_size: usize,
    pub extra_target_share: (f64, f64),
    pub seed: u64,
    pub num_threads: usize,
}

impl Settings {
    pub fn check(&self) -> Result<()> {
        let (low, high) = self.extra_target_share;
        if self.context_length == 0 || self.batch_size == 0 || self.num_threads == 0 {
            return argument("context_length, batch_size and num_threads must be at least 1");
        }
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return argument(format!(
                "extra_target_share ({low}, {high}) must be two shares in order, from 0 to 1"
            ));
        }
        check_slots(self.batch_size, self.context_length)
    }
}

pub fn check_slots(contexts: usize, context_length: usize) -> Result<()> {
    match contexts.checked_mul(context_length) {
        Some(slots) if slots <= MAX_SLOTS => Ok(()),
        _ => argument(format!(
            "{contexts} contexts of {context_length} slots are more than a batch can hold \
             ({MAX_SLOTS} slots)"
        )),
    }
}

/// A store with its embeddings.
pub struct Source {
    pub store: Store,
    pub embeddings: Embeddings,
}

impl Source {
    /// Opens the stores; their embeddings have one width.
    pub fn open_all(paths: &[PathBuf], embedder: &str) -> Result<Vec<Self>> {
        let mut sources: Vec<Source> = Vec::with_capacity(paths.len());
        for path in paths {
            let store = Store::open(path)?;
            let embeddings = Embeddings::open(&store, embedder)?;
            sources.push(Source { store, embeddings });
        }
        check_widths(&sources)?;
        Ok(sources)
    }
}

fn check_widths(sources: &[Source]) -> Result<()> {
    let Some(first) = sources.first() else {
        return argument("no store is given");
    };
    for source in sources {
        if source.embeddings.dim != first.embeddings.dim {
            return argument(format!(
                "the text embeddings of store '{}' have {} numbers, those of '{}' have {}",
                source.store.meta.name,
                source.embeddings.dim,
                first.store.meta.name,
                first.embeddings.dim
            ));
        }
    }
    Ok(())
}
