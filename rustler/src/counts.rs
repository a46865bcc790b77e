//! How many visible children a row has by each foreign key: the true number in the store, not that
//! in the context.
//!
//! The children of a row and a key are held by (rank, row), so that those up to a bound are found
//! by binary search: a row with millions of them costs a few steps more than one with ten. A
//! parent table that a single key references has such lists already; for others, whose lists mix
//! keys, the index holds lists apart: 4 bytes a reference and 4 bytes for each key and parent row.
//!
//! Counted are the rows of database tables that `visibility` lets the target see, the target's own
//! row among them, once for each key by which they reference. Label rows never count, nor do
//! keys that are hidden in a task.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::meta::{Kind, Meta};
use crate::store::{Arrays, NO_RANK, NO_ROW, Store};
use crate::task::Prepared;
use crate::visibility::{Split, Target};

/// A foreign key of a database table.
pub struct Key {
    /// Text that names it.
    pub name_text: u32,
    child_table: usize,
    /// Its place among the keys of the child table.
    place: usize,
    first_parent: u32,
    /// Rows of the child table stand in order of time, those without a time last.
    in_time: bool,
    lists: Option<Lists>,
}

/// The children of parent row i are rows[ptr[i]..ptr[i + 1]], by (rank, row).
struct Lists {
    ptr: Vec<u32>,
    rows: Vec<u32>,
}

/// The foreign keys of a store.
pub struct KeyIndex {
    pub keys: Vec<Key>,
    /// Numbers of the keys that reference each table.
    of_table: Vec<Vec<u32>>,
}

/// The target for whom is counted.
#[derive(Clone, Copy)]
pub struct Viewer<'a> {
    pub task: &'a Prepared,
    pub target: Target,
    pub row: u32,
    /// The last rank of rows that are not later than the bound.
    pub last_rank: u32,
}

impl KeyIndex {
    pub fn new(store: &Store) -> Result<Self> {
        let (arrays, meta) = (store.arrays(), &store.meta);
        let mut index = Self {
            keys: Vec::new(),
            of_table: vec![Vec::new(); meta.tables.len()],
        };
        for (number, table) in meta.tables.iter().enumerate() {
            if table.kind == Kind::Task {
                continue;
            }
            let damaged = |what| Error::damaged(&store.path, what);
            if table.foreign_keys.len() != table.num_parents as usize {
                let name = &table.name;
                return Err(damaged(format!(
                    "table '{name}' does not say what its keys reference"
                )));
            }
            for (place, key) in table.foreign_keys.iter().enumerate() {
                let named = |what| format!("key '{}' of table '{}' {what}", key.column, table.name);
                let added = index.add(&arrays, meta, (number, place));
                added.map_err(|what| damaged(named(what)))?;
            }
        }
        Ok(index)
    }

    fn add(
        &mut self,
        arrays: &Arrays,
        meta: &Meta,
        (child_table, place): (usize, usize),
    ) -> std::result::Result<(), String> {
        let declared = &meta.tables[child_table].foreign_keys[place];
        let parent = declared.parent as usize;
        let Some(name_text) = declared.name_text else {
            return Err("has no name, which child_counts needs: it is an older store's".into());
        };
        if u64::from(name_text) >= meta.num_texts {
            return Err(format!("names text {name_text} of {}", meta.num_texts));
        }
        let Some(of_table) = self.of_table.get_mut(parent) else {
            return Err("references a table that is not there".into());
        };
        of_table.push(self.keys.len() as u32);
        let key = (child_table, place, parent, name_text);
        self.keys.push(Key::new(arrays, meta, key)?);
        Ok(())
    }

    /// Calls `found` with each key that references the row's table and by which it has visible
    /// children, and their number.
    pub fn count(
        &self,
        arrays: &Arrays,
        row: u32,
        viewer: &Viewer,
        mut found: impl FnMut(u32, u32),
    ) {
        for &number in &self.of_table[arrays.layout.table(row).number] {
            let key = &self.keys[number as usize];
            let table = arrays.layout.table_numbered(key.child_table);
            if viewer
                .task
                .hidden_places(table.rows.start)
                .contains(&key.place)
            {
                continue;
            }
            let count = key.count(arrays, row, viewer);
            if count > 0 {
                found(number, count);
            }
        }
    }
}

impl Key {
    fn new(
        arrays: &Arrays,
        meta: &Meta,
        (child_table, place, parent_table, name_text): (usize, usize, usize, u32),
    ) -> std::result::Result<Self, String> {
        let parents = meta.tables[parent_table].rows();
        let children = meta.tables[child_table].rows();
        let layout = arrays.layout.table_numbered(child_table);
        let parent_of = |row| arrays.parent_places(layout, row)[place];
        let ptr = pointers(parents.clone(), children.clone().map(parent_of))?;
        let time = |row: u32| arrays.order_in_time(row);
        Ok(Self {
            name_text,
            child_table,
            place,
            first_parent: parents.start,
            in_time: children.clone().is_sorted_by_key(time),
            lists: (ptr.last() != Some(&meta.tables[parent_table].num_children)).then(|| {
                let rows = children.map(|row| (row, parent_of(row)));
                let known = rows.filter(|&(_, parent)| parent != NO_ROW);
                let placed = known.map(|(row, parent)| (row, parent - parents.start));
                Lists::new(arrays, ptr, placed)
            }),
        })
    }

    fn children<'a>(&'a self, arrays: &Arrays<'a>, row: u32) -> &'a [u32] {
        match &self.lists {
            None => arrays.children(row).0,
            Some(lists) => {
                let at = (row - self.first_parent) as usize;
                &lists.rows[lists.ptr[at] as usize..lists.ptr[at + 1] as usize]
            }
        }
    }

    fn count(&self, arrays: &Arrays, row: u32, viewer: &Viewer) -> u32 {
        let (rows, rank) = (self.children(arrays, row), |row: u32| {
            arrays.row_rank[row as usize]
        });
        let of_task = self.child_table == viewer.task.task.table as usize;
        if of_task && viewer.target.bound().is_none() {
            return self.count_in_splits(
                rows,
                rows.partition_point(|&r| rank(r) == NO_RANK),
                viewer,
            );
        }
        let visible = rows.partition_point(|&child| rank(child) <= viewer.last_rank) as u32;
        // a cutoff may stand before the target's own row, which is seen all the same
        let own = of_task && rank(viewer.row) > viewer.last_rank && {
            let layout = arrays.layout.table_numbered(self.child_table);
            arrays.parent_places(layout, viewer.row)[self.place] == row
        };
        visible + u32::from(own)
    }

    /// Rule 3: without a bound, later splits than the target's are not visible. `timeless`: how
    /// many of the rows have no time; both kinds stand in order of rows, or else are looked at one
    /// by one, which only tables need that are not in order of time.
    fn count_in_splits(&self, rows: &[u32], timeless: usize, viewer: &Viewer) -> u32 {
        let sees = |row| viewer.target.sees_row(None, viewer.task.split_of(row));
        if !self.in_time {
            return rows.iter().filter(|&&row| sees(row)).count() as u32;
        }
        if viewer.target.split() == Split::Test {
            return rows.len() as u32;
        }
        let (without, with) = rows.split_at(timeless);
        let within = |part: &[u32], end: u32| part.partition_point(|&row| row < end);
        let seen = &viewer.task.task.splits[..=viewer.target.split() as usize];
        let counts = seen.iter().flat_map(|split| {
            [without, with].map(|part| within(part, split.end) - within(part, split.start))
        });
        counts.sum::<usize>() as u32
    }
}

/// Where each parent's children would begin, and the end; `references`: a parent or `NO_ROW` each.
fn pointers(
    parents: Range<u32>,
    references: impl Iterator<Item = u32>,
) -> std::result::Result<Vec<u32>, String> {
    let mut ptr = vec![0_u32; parents.len() + 1];
    for parent in references.filter(|&parent| parent != NO_ROW) {
        if !parents.contains(&parent) {
            return Err(format!("references row {parent} of another table"));
        }
        ptr[(parent - parents.start) as usize + 1] += 1;
    }
    let mut sum = 0;
    for count in &mut ptr {
        sum += *count;
        *count = sum;
    }
    Ok(ptr)
}

impl Lists {
    /// `ptr`: where each parent's children begin, and the end; rows: children in order of their
    /// numbers, each with the place of its parent.
    fn new(arrays: &Arrays, ptr: Vec<u32>, rows: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut sorted = vec![0; ptr.last().copied().unwrap_or(0) as usize];
        let mut next = ptr.clone();
        for (row, parent) in rows {
            let place = &mut next[parent as usize];
            sorted[*place as usize] = row;
            *place += 1;
        }
        for pair in ptr.windows(2) {
            let list = &mut sorted[pair[0] as usize..pair[1] as usize];
            let rank = |row: &u32| arrays.row_rank[*row as usize];
            if !list.is_sorted_by_key(rank) {
                list.sort_by_key(rank);
            }
        }
        Self { ptr, rows: sorted }
    }
}
