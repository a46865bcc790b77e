//! Independent pieces of work on a given number of threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::KernelError;

static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

/// Calls `work` on every item.
pub fn for_each<T: Send>(
    items: Vec<T>,
    num_threads: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), KernelError> {
    if num_threads <= 1 || items.len() <= 1 {
        items.into_iter().for_each(work);
    } else {
        pool(num_threads)?.install(|| items.into_par_iter().for_each(work));
    }
    Ok(())
}

/// The pool of this size; made once, because making threads takes as long as a small kernel.
fn pool(num_threads: usize) -> Result<Arc<ThreadPool>, KernelError> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&num_threads) {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new().num_threads(num_threads).build();
    let pool = Arc::new(pool.map_err(|error| KernelError::Threads(error.to_string()))?);
    pools.insert(num_threads, Arc::clone(&pool));
    Ok(pool)
}

/// Rows that one thread takes at a time: a few pieces each, so that none waits long for another.
/// A multiple of 16.
pub fn chunk_rows(rows: usize, num_threads: usize) -> usize {
    rows.div_ceil(4 * num_threads.max(1))
        .max(64)
        .next_multiple_of(16)
}
