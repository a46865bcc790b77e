//! A sampler's settings and stores, and what has to hold between them.

use std::path::PathBuf;

use crate::children::Children;
use crate::counts::KeyIndex;
use crate::error::{Result, argument};
use crate::nodes::Nodes;
use crate::recipe::{Order, Recipe};
use crate::store::{Embeddings, Store};

/// Most slots of a batch, and of a context.
const MAX_SLOTS: usize = 1 << 28;

/// See `rustler.pyi`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub embedder: String,
    /// A batch draws one; the contexts of given rows have the first.
    pub context_length: Vec<usize>,
    /// A context draws one by weight; those of given rows take the first.
    pub recipes: Vec<Recipe>,
    pub batch_size: usize,
    pub extra_target_share: (f64, f64),
    pub seed: u64,
    pub num_threads: usize,
    /// Count the visible children of every row by foreign key.
    pub child_counts: bool,
}

impl Settings {
    pub fn check(&self) -> Result<()> {
        let (low, high) = self.extra_target_share;
        if self.batch_size == 0 || self.num_threads == 0 {
            return argument("batch_size and num_threads must be at least 1");
        }
        let longest = self.longest();
        let divides = |&length: &usize| length > 0 && longest.is_multiple_of(length);
        if longest == 0 || !self.context_length.iter().all(divides) {
            return argument(format!(
                "context_length {:?} must hold lengths of at least 1 that divide the longest, so \
                 that every batch has the same number of slots",
                self.context_length
            ));
        }
        self.recipes.iter().try_for_each(Recipe::check)?;
        if self.recipes.iter().map(|recipe| recipe.weight).sum::<f64>() <= 0.0 {
            return argument("recipes: none has a weight");
        }
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return argument(format!(
                "extra_target_share ({low}, {high}) must be two shares in order, from 0 to 1"
            ));
        }
        check_slots(self.batch_size, longest)
    }

    /// The largest context length.
    pub fn longest(&self) -> usize {
        self.context_length.iter().copied().max().unwrap_or(0)
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
    pub children: Children,
    /// Present if children are counted.
    pub keys: Option<KeyIndex>,
    /// One a row if a recipe has walks, else none.
    pub nodes: Nodes,
}

impl Source {
    /// Opens the stores; their embeddings have one width.
    pub fn open_all(paths: &[PathBuf], settings: &Settings) -> Result<Vec<Self>> {
        let mut sources: Vec<Source> = Vec::with_capacity(paths.len());
        for path in paths {
            let store = Store::open(path)?;
            let embeddings = Embeddings::open(&store, &settings.embedder)?;
            let keys = settings.child_counts.then(|| KeyIndex::new(&store));
            let walks = |recipe: &Recipe| recipe.other_order.contains(&Order::Walks);
            sources.push(Source {
                keys: keys.transpose()?,
                nodes: match settings.recipes.iter().any(walks) {
                    true => Nodes::of(&store)?,
                    false => Nodes::default(),
                },
                children: Children::new(&store),
                store,
                embeddings,
            });
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
