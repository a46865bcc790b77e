//! What a walk reads of a row, in one place of memory: walks go from row to row of a whole store, and
//! at every step they would wait for each array that is read on the way.

use std::ops::Deref;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use memmap2::MmapMut;

use crate::error::{Error, Result, argument};
use crate::store::{Arrays, NO_RANK, NO_ROW, Store};

/// Parents that stand in a node itself.
const NEAR: usize = 3;

/// So that a row's neighbours, and where they stand, are counted in 32 bits.
const MOST_REFERENCES: usize = 1 << 31;

/// A row's neighbours: its children and its parents that are there, in order of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(32))]
pub struct Node {
    /// Where the children begin in `child_row`.
    pub first_child: u32,
    pub children: u32,
    /// The highest rank of a child, `NO_RANK` for none.
    pub latest: u32,
    /// The row's own.
    pub rank: u32,
    pub parents: u32,
    /// The parents, if there are no more than these, or else where they begin in `Nodes::far`.
    parent: [u32; NEAR],
}

impl Node {
    /// The parent of this number, below `parents`, if it stands here.
    #[inline]
    pub fn near(&self, number: u32) -> Option<u32> {
        (self.parents as usize <= NEAR).then(|| self.parent[number as usize])
    }

    /// Where it stands in `Nodes::far` otherwise.
    #[inline]
    pub fn far(&self, number: u32) -> u32 {
        self.parent[0] + number
    }
}

/// The nodes of all rows of a store, 32 bytes each, in pages as large as the system has: walks go
/// everywhere, and there are fewer places of large pages to remember.
#[derive(Default)]
pub struct Nodes {
    map: Option<MmapMut>,
    len: usize,
    /// The parents of rows that have more than a node holds.
    pub far: Vec<u32>,
}

impl Nodes {
    /// One for each row of the store.
    pub fn of(store: &Store) -> Result<Self> {
        let (arrays, meta) = (store.arrays(), &store.meta);
        if arrays.child_row.len() > MOST_REFERENCES {
            return argument(format!(
                "store '{}' has {} references, more than random walks can take: use a recipe \
                 without walks",
                meta.name,
                arrays.child_row.len()
            ));
        }
        let mut nodes = Self::empty(arrays.row_rank.len())?;
        let mut far = Vec::new();
        let places = nodes.places();
        for (number, table) in meta.tables.iter().enumerate() {
            for row in table.rows() {
                places[row as usize] = node(&arrays, number, row, &mut far);
            }
        }
        nodes.far = far;
        Ok(nodes)
    }

    fn empty(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self::default());
        }
        let map = MmapMut::map_anon(len * size_of::<Node>()).map_err(|error| {
            Error::Argument(format!(
                "no memory for what walks read of {len} rows ({error})"
            ))
        })?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // a hint that not every system takes
        Ok(Self {
            map: Some(map),
            len,
            far: Vec::new(),
        })
    }

    fn places(&mut self) -> &mut [Node] {
        match &mut self.map {
            // SAFETY: the map is of `len` nodes and begins with a page, so it is aligned; every bit
            // pattern is a node, as it holds integers alone; it is borrowed for as long.
            Some(map) => unsafe { from_raw_parts_mut(map.as_mut_ptr().cast(), self.len) },
            None => &mut [],
        }
    }
}

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        match &self.map {
            // SAFETY: as in `places`; nobody writes while it is borrowed.
            Some(map) => unsafe { from_raw_parts(map.as_ptr().cast(), self.len) },
            None => &[],
        }
    }
}

fn node(arrays: &Arrays, table: usize, row: u32, far: &mut Vec<u32>) -> Node {
    let table = arrays.layout.table_numbered(table);
    let children = arrays.child_places(table, row);
    let mut node = Node {
        first_child: children.start as u32,
        children: children.len() as u32,
        latest: match children.len() {
            0 => NO_RANK,
            _ => arrays.child_rank[children.end - 1],
        },
        rank: arrays.row_rank[row as usize],
        ..Node::default()
    };
    let start = far.len();
    let places = arrays.parent_places(table, row);
    far.extend(places.iter().filter(|&&place| place != NO_ROW));
    let parents = &far[start..];
    node.parents = parents.len() as u32;
    match node.parent.get_mut(..parents.len()) {
        Some(near) => {
            near.copy_from_slice(parents);
            far.truncate(start);
        }
        None => node.parent[0] = start as u32,
    }
    node
}
