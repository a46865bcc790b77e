//! One attention mask as groups of queries that share their keys, checked before use.

use super::{KernelError, check_length};

/// Group g: the queries `query[query_ptr[g]..query_ptr[g+1]]` attend to the keys
/// `key[key_ptr[g]..key_ptr[g+1]]`. The groups of context b are `group_ptr[b]..group_ptr[b+1]`, its
/// cells `cell_ptr[b]..cell_ptr[b+1]`.
/// A copy, so that what was checked stays as it was.
#[derive(Debug)]
pub struct Groups {
    query_ptr: Vec<i32>,
    query: Vec<i32>,
    key_ptr: Vec<i32>,
    key: Vec<i32>,
    group_ptr: Vec<i32>,
    cell_ptr: Vec<i32>,
}

/// The arrays of a mask, as they come from `rt.plan.Groups`.
pub struct GroupArrays<'a> {
    pub query_ptr: &'a [i32],
    pub query: &'a [i32],
    pub key_ptr: &'a [i32],
    pub key: &'a [i32],
    pub group_ptr: &'a [i32],
    pub cell_ptr: &'a [i32],
}

impl Groups {
    /// Checks every offset and index, so that the kernels need not.
    pub fn new(arrays: &GroupArrays) -> Result<Self, KernelError> {
        let groups = Groups {
            query_ptr: arrays.query_ptr.to_vec(),
            query: arrays.query.to_vec(),
            key_ptr: arrays.key_ptr.to_vec(),
            key: arrays.key.to_vec(),
            group_ptr: arrays.group_ptr.to_vec(),
            cell_ptr: arrays.cell_ptr.to_vec(),
        };
        let cells = groups.num_cells();
        check_pointers("cell_ptr", &groups.cell_ptr, cells)?;
        check_pointers("query_ptr", &groups.query_ptr, groups.query.len())?;
        check_pointers("key_ptr", &groups.key_ptr, groups.key.len())?;
        let num_groups = groups.query_ptr.len() - 1;
        check_length("key_ptr", groups.key_ptr.len(), num_groups + 1)?;
        check_length("group_ptr", groups.group_ptr.len(), groups.cell_ptr.len())?;
        check_pointers("group_ptr", &groups.group_ptr, num_groups)?;
        let mut seen = vec![false; cells];
        for context in 0..groups.num_contexts() {
            let bounds = groups.cell_ptr[context]..groups.cell_ptr[context + 1];
            for group in range(&groups.group_ptr, context) {
                let inside = |list: &[i32]| list.iter().all(|cell| bounds.contains(cell));
                let (name, queries) = ("query", &groups.query[range(&groups.query_ptr, group)]);
                if !inside(queries) {
                    return Err(KernelError::Outside { name, context });
                }
                for &query in queries {
                    let cell = query as usize;
                    if std::mem::replace(&mut seen[cell], true) {
                        return Err(KernelError::Twice { cell });
                    }
                }
                if !inside(&groups.key[range(&groups.key_ptr, group)]) {
                    let name = "key";
                    return Err(KernelError::Outside { name, context });
                }
            }
        }
        Ok(groups)
    }

    pub fn num_contexts(&self) -> usize {
        self.cell_ptr.len().saturating_sub(1)
    }

    pub fn num_cells(&self) -> usize {
        self.cell_ptr.last().map_or(0, |&end| end.max(0) as usize)
    }

    /// Cells of one context.
    pub fn context_cells(&self, context: usize) -> usize {
        range(&self.cell_ptr, context).len()
    }

    /// Queries and keys of each group of a context that has both, as positions among its cells.
    pub fn of_context(&self, context: usize) -> impl Iterator<Item = Group<'_>> {
        let first_cell = self.cell_ptr[context];
        range(&self.group_ptr, context)
            .map(move |group| Group {
                query: &self.query[range(&self.query_ptr, group)],
                key: &self.key[range(&self.key_ptr, group)],
                first_cell,
            })
            .filter(|group| !group.query.is_empty() && !group.key.is_empty())
    }
}

/// One group; its lists number cells of the batch, of which the context's first is `first_cell`.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    query: &'a [i32],
    key: &'a [i32],
    first_cell: i32,
}

impl Group<'_> {
    pub fn num_queries(&self) -> usize {
        self.query.len()
    }

    pub fn num_keys(&self) -> usize {
        self.key.len()
    }

    #[inline(always)]
    pub fn query(&self, i: usize) -> usize {
        (self.query[i] - self.first_cell) as usize
    }

    #[inline(always)]
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        self.key
            .iter()
            .map(|&cell| (cell - self.first_cell) as usize)
    }
}

fn range(pointers: &[i32], at: usize) -> std::ops::Range<usize> {
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
