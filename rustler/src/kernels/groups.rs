//! One attention mask as groups of queries that share their keys, checked before use.

use std::ops::Range;

use super::simd::LANES;
use super::{KernelError, check_length};

/// Group g: the queries `query[query_ptr[g]..query_ptr[g+1]]` attend to the keys
/// `key[key_ptr[g]..key_ptr[g+1]]`. The groups of context b are `group_ptr[b]..group_ptr[b+1]`.
/// Queries and keys are numbers of rows of their arrays; those of context b are
/// `query_row_ptr[b]..query_row_ptr[b+1]` and `key_row_ptr[b]..key_row_ptr[b+1]`.
/// A copy, so that what was checked stays as it was.
#[derive(Debug)]
pub struct Groups {
    query_ptr: Vec<i32>,
    query: Vec<i32>,
    key_ptr: Vec<i32>,
    key: Vec<i32>,
    group_ptr: Vec<i32>,
    query_row_ptr: Vec<i32>,
    key_row_ptr: Vec<i32>,
    /// The keys of each query, from .0 to .1 among those of its pack.
    keys_of_query: Vec<(u32, u32)>,
    /// The groups of each pack, for each context.
    packs_of: Vec<Vec<Range<usize>>>,
}

/// The arrays of a mask, as `rt.cpu` gives them.
pub struct GroupArrays<'a> {
    pub query_ptr: &'a [i32],
    pub query: &'a [i32],
    pub key_ptr: &'a [i32],
    pub key: &'a [i32],
    pub group_ptr: &'a [i32],
    pub query_row_ptr: &'a [i32],
    pub key_row_ptr: &'a [i32],
}

impl Groups {
    /// Checks every offset and index, so that the kernels need not.
    pub fn new(arrays: &GroupArrays) -> Result<Self, KernelError> {
        let mut groups = Groups {
            query_ptr: arrays.query_ptr.to_vec(),
            query: arrays.query.to_vec(),
            key_ptr: arrays.key_ptr.to_vec(),
            key: arrays.key.to_vec(),
            group_ptr: arrays.group_ptr.to_vec(),
            query_row_ptr: arrays.query_row_ptr.to_vec(),
            key_row_ptr: arrays.key_row_ptr.to_vec(),
            keys_of_query: Vec::new(),
            packs_of: Vec::new(),
        };
        let num_queries = groups.num_queries();
        check_pointers("query_row_ptr", &groups.query_row_ptr, num_queries)?;
        check_pointers("key_row_ptr", &groups.key_row_ptr, groups.num_keys())?;
        check_pointers("query_ptr", &groups.query_ptr, groups.query.len())?;
        check_pointers("key_ptr", &groups.key_ptr, groups.key.len())?;
        let num_groups = groups.query_ptr.len() - 1;
        check_length("key_ptr", groups.key_ptr.len(), num_groups + 1)?;
        let num_contexts = groups.num_contexts();
        check_length("group_ptr", groups.group_ptr.len(), num_contexts + 1)?;
        check_length("key_row_ptr", groups.key_row_ptr.len(), num_contexts + 1)?;
        check_pointers("group_ptr", &groups.group_ptr, num_groups)?;
        let mut seen = vec![false; num_queries];
        for context in 0..num_contexts {
            let of_queries = range(&groups.query_row_ptr, context);
            let of_keys = range(&groups.key_row_ptr, context);
            for group in range(&groups.group_ptr, context) {
                let (name, queries) = ("query", &groups.query[range(&groups.query_ptr, group)]);
                if !inside(queries, &of_queries) {
                    return Err(KernelError::Outside { name, context });
                }
                for &query in queries {
                    let row = query as usize;
                    if std::mem::replace(&mut seen[row], true) {
                        return Err(KernelError::Twice { row });
                    }
                }
                if !inside(&groups.key[range(&groups.key_ptr, group)], &of_keys) {
                    let name = "key";
                    return Err(KernelError::Outside { name, context });
                }
            }
        }
        groups.pack();
        Ok(groups)
    }

    pub fn num_contexts(&self) -> usize {
        self.query_row_ptr.len().saturating_sub(1)
    }

    /// Rows of queries, also of such as are in no group.
    pub fn num_queries(&self) -> usize {
        last(&self.query_row_ptr)
    }

    /// Rows of keys.
    pub fn num_keys(&self) -> usize {
        last(&self.key_row_ptr)
    }

    /// The rows of queries of one context.
    pub fn queries_of(&self, context: usize) -> Range<usize> {
        range(&self.query_row_ptr, context)
    }

    /// The rows of keys of one context.
    pub fn keys_of(&self, context: usize) -> Range<usize> {
        range(&self.key_row_ptr, context)
    }

    /// The packs of a context, in order.
    pub fn packs(&self, context: usize) -> impl Iterator<Item = Pack<'_>> {
        let (first_query, first_key) = (self.query_row_ptr[context], self.key_row_ptr[context]);
        let bounds = &self.packs_of[context];
        bounds.iter().map(move |groups| {
            let part = |ptr: &[i32]| ptr[groups.start] as usize..ptr[groups.end] as usize;
            let queries = part(&self.query_ptr);
            Pack {
                keys_of: &self.keys_of_query[queries.clone()],
                query: &self.query[queries],
                key: &self.key[part(&self.key_ptr)],
                first_query,
                first_key,
            }
        })
    }

    /// Groups one after another that are worked on together: as many as have no more keys than a
    /// vector has lanes, or a larger one alone. Groups without queries or keys are in none.
    fn pack(&mut self) {
        self.keys_of_query = vec![(0, 0); self.query.len()];
        for context in 0..self.num_contexts() {
            let mut packs: Vec<Range<usize>> = Vec::new();
            for group in range(&self.group_ptr, context) {
                let (queries, keys) = (range(&self.query_ptr, group), range(&self.key_ptr, group));
                if queries.is_empty() || keys.is_empty() {
                    continue;
                }
                let fits = |pack: &&mut Range<usize>| {
                    let first = self.key_ptr[pack.start] as usize;
                    pack.end == group && keys.end - first <= LANES
                };
                let first = match packs.last_mut().filter(fits) {
                    Some(pack) => {
                        pack.end = group + 1;
                        self.key_ptr[pack.start] as usize
                    }
                    None => {
                        packs.push(group..group + 1);
                        keys.start
                    }
                };
                let bounds = ((keys.start - first) as u32, (keys.end - first) as u32);
                self.keys_of_query[queries].fill(bounds);
            }
            self.packs_of.push(packs);
        }
    }
}

/// Groups that are worked on together; the lists number rows of the batch, of which the context's
/// first are `first_query` and `first_key`.
#[derive(Clone, Copy)]
pub struct Pack<'a> {
    query: &'a [i32],
    keys_of: &'a [(u32, u32)],
    key: &'a [i32],
    first_query: i32,
    first_key: i32,
}

impl Pack<'_> {
    pub fn num_queries(&self) -> usize {
        self.query.len()
    }

    pub fn num_keys(&self) -> usize {
        self.key.len()
    }

    #[inline(always)]
    pub fn query(&self, i: usize) -> usize {
        (self.query[i] - self.first_query) as usize
    }

    /// Where the keys of a query stand among those of the pack.
    #[inline(always)]
    pub fn keys_of(&self, i: usize) -> Range<usize> {
        let (start, end) = self.keys_of[i];
        start as usize..end as usize
    }

    #[inline(always)]
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        self.key.iter().map(|&row| (row - self.first_key) as usize)
    }
}

fn inside(list: &[i32], bounds: &Range<usize>) -> bool {
    list.iter()
        .all(|&row| row >= 0 && bounds.contains(&(row as usize)))
}

fn last(pointers: &[i32]) -> usize {
    pointers.last().map_or(0, |&end| end.max(0) as usize)
}

fn range(pointers: &[i32], at: usize) -> Range<usize> {
    pointers[at] as usize..pointers[at + 1] as usize
}

fn check_pointers(name: &'static str, pointers: &[i32], end: usize) -> Result<(), KernelError> {
    let rises = pointers.windows(2).all(|pair| pair[0] <= pair[1]);
    let ends = pointers.first() == Some(&0) && pointers.last().map(|&p| p as usize) == Some(end);
    if rises && ends {
        Ok(())
    } else {
        Err(KernelError::Pointers { name, end })
    }
}
