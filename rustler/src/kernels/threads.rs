//! Independent pieces of work on a given number of threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::KernelError;

/// Most threads of a pool: a wrong number shall be an error, not the end of the machine's memory.
const MAX_THREADS: usize = 4096;

/// The pools of one calling thread, by their number of threads.
///
/// A child of a fork has none of the threads, and a lock that another thread held at that moment
/// stays locked in it: so pools belong to one process, and to one thread, which needs no lock.
struct Pools {
    process: u32,
    by_size: BTreeMap<usize, Arc<ThreadPool>>,
}

thread_local! {
    static POOLS: RefCell<Pools> = RefCell::new(Pools::new());
}

/// Calls `work` on every item.
pub fn for_each<T: Send>(
    items: Vec<T>,
    num_threads: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), KernelError> {
    if num_threads <= 1 || items.len() <= 1 {
        items.into_iter().for_each(work);
    } else {
        let pool = POOLS.with_borrow_mut(|pools| pools.of_size(num_threads))?;
        pool.install(|| items.into_par_iter().for_each(work));
    }
    Ok(())
}

impl Pools {
    fn new() -> Self {
        Self {
            process: std::process::id(),
            by_size: BTreeMap::new(),
        }
    }

    /// Made once, because making threads takes as long as a small kernel.
    fn of_size(&mut self, num_threads: usize) -> Result<Arc<ThreadPool>, KernelError> {
        if self.process != std::process::id() {
            *self = Self::new();
        }
        if let Some(pool) = self.by_size.get(&num_threads) {
            return Ok(Arc::clone(pool));
        }
        if num_threads > MAX_THREADS {
            let told = format!("{num_threads} are too many, at most {MAX_THREADS}");
            return Err(KernelError::Threads(told));
        }
        let pool = ThreadPoolBuilder::new().num_threads(num_threads).build();
        let pool = Arc::new(pool.map_err(|error| KernelError::Threads(error.to_string()))?);
        self.by_size.insert(num_threads, Arc::clone(&pool));
        Ok(pool)
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // ending threads that a fork left behind could wait for them forever
            std::mem::forget(std::mem::take(&mut self.by_size));
        }
    }
}

/// Rows that one thread takes at a time: a few pieces each, so that none waits long for another.
/// A multiple of 16.
pub fn chunk_rows(rows: usize, num_threads: usize) -> usize {
    rows.div_ceil(num_threads.max(1).saturating_mul(4))
        .max(64)
        .next_multiple_of(16)
}
