//! What is read from a store: times, cells, parents and children of rows.

use std::ops::Range;

use super::layout::{Field, Layout, Records, TableLayout};

/// In `parent_row`: a row has no parent in this place.
pub const NO_ROW: u32 = u32::MAX;
/// The rank of rows without a time; those of others begin at 1.
pub const NO_RANK: u32 = 0;

/// The arrays of a store (see `rt/store.py`).
#[derive(Clone, Copy)]
pub struct Arrays<'a> {
    pub layout: &'a Layout,
    /// Times of rows, each once, rising. A row has the rank of its time here, counted from 1.
    pub time_value: &'a [i64],
    pub row_rank: &'a [u32],
    pub parent_row: &'a [u32],
    pub child_ptr: &'a [u32],
    pub child_row: &'a [u32],
    pub child_rank: &'a [u32],
    pub record_ptr: &'a [u64],
    pub dictionary: &'a [u32],
    pub records: &'a [u8],
}

impl<'a> Arrays<'a> {
    pub fn time(&self, row: u32) -> Option<i64> {
        match self.row_rank[row as usize] {
            NO_RANK => None,
            rank => Some(self.time_value[rank as usize - 1]),
        }
    }

    /// Rises with the time of rows; of those without a time it is the highest.
    #[inline]
    pub fn order_in_time(&self, row: u32) -> u32 {
        self.row_rank[row as usize].wrapping_sub(1)
    }

    /// The last rank whose time fulfils `holds`, which must hold for the times before it too:
    /// rows of this rank or below are those for which it holds, and those without a time.
    pub fn last_rank(&self, holds: impl Fn(i64) -> bool) -> u32 {
        self.time_value.partition_point(|&time| holds(time)) as u32
    }

    /// Column numbers and values of a row's cells, in order of columns.
    #[inline]
    pub fn cells(&self, row: u32) -> Cells<'a> {
        let table = self.layout.table(row);
        Cells {
            raw: self.raw_cells(table, row),
            dictionary: self.dictionary,
            first_column: table.first_column,
        }
    }

    pub fn num_cells(&self, row: u32) -> usize {
        let table = self.layout.table(row);
        let start = self.record_start(table, row);
        let bits = &self.records[start..start + table.presence];
        let there: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        table.required + there as usize
    }

    /// The bits of the cell of `column` in `row`, if it is not null.
    pub fn cell(&self, row: u32, column: u32) -> Option<u32> {
        let mut cell = None;
        self.for_wanted(row, &[(column, ())], |_, bits| cell = Some(bits));
        cell
    }

    /// Calls `found` with the number in `wanted`, columns that rise, of each of the row's cells
    /// that is wanted, and with its bits.
    #[inline]
    pub fn for_wanted<T>(&self, row: u32, wanted: &[(u32, T)], mut found: impl FnMut(usize, u32)) {
        let table = self.layout.table(row);
        if let Records::Even(_) = table.records {
            let record = &self.records[self.record_start(table, row)..];
            for (number, (column, _)) in wanted.iter().enumerate() {
                let place = column.checked_sub(table.first_column);
                let field = place.and_then(|place| table.fields.get(place as usize));
                let Some(field) = field.filter(|field| field.is_in(record)) else {
                    continue;
                };
                let raw = field.raw(record, field.offset);
                found(number, field.bits(raw, self.dictionary));
            }
            return;
        }
        let mut number = 0;
        for (column, bits) in self.cells(row) {
            while wanted.get(number).is_some_and(|&(other, _)| other < column) {
                number += 1;
            }
            match wanted.get(number) {
                Some(&(other, _)) if other == column => found(number, bits),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The row's place for each foreign key; `NO_ROW` where it has no parent.
    #[inline]
    pub fn parent_places(&self, table: &TableLayout, row: u32) -> &'a [u32] {
        let first = table.first_parent + (row - table.rows.start) as usize * table.num_parents;
        &self.parent_row[first..first + table.num_parents]
    }

    /// The row's parents, in order of the foreign keys.
    #[inline]
    pub fn parents(&self, row: u32) -> impl DoubleEndedIterator<Item = u32> + Clone + use<'a> {
        let places = self.parent_places(self.layout.table(row), row);
        places.iter().copied().filter(|&parent| parent != NO_ROW)
    }

    /// Children and the ranks of their times, by (time, row).
    #[inline]
    pub fn children(&self, row: u32) -> (&'a [u32], &'a [u32]) {
        let range = self.child_places(self.layout.table(row), row);
        (&self.child_row[range.clone()], &self.child_rank[range])
    }

    /// Where the row's children stand.
    #[inline]
    pub fn child_places(&self, table: &TableLayout, row: u32) -> Range<usize> {
        let Some(first) = table.first_pointer else {
            return 0..0;
        };
        let at = first + (row - table.rows.start) as usize;
        let (start, end) = (self.child_ptr[at], self.child_ptr[at + 1]);
        table.first_edge + start as usize..table.first_edge + end as usize
    }

    #[inline]
    pub fn record_start(&self, table: &TableLayout, row: u32) -> usize {
        let place = (row - table.rows.start) as usize;
        let start = match table.records {
            Records::Even(stride) => place * stride,
            Records::Packed(first) => self.record_ptr[first + place] as usize,
        };
        table.first_byte + start
    }

    /// The cells of a row of `table` as they stand in its record.
    #[inline]
    pub fn raw_cells<'b>(&self, table: &'b TableLayout, row: u32) -> RawCells<'a, 'b> {
        RawCells {
            record: &self.records[self.record_start(table, row)..],
            fields: &table.fields,
            next: 0,
            at: table.presence,
            packed: matches!(table.records, Records::Packed(_)),
        }
    }
}

/// Places of fields in their table, and the cells' bits as they stand there.
#[derive(Clone)]
pub struct RawCells<'a, 'b> {
    /// From the record's first byte to the end of all records.
    record: &'a [u8],
    fields: &'b [Field],
    next: usize,
    /// Where the next cell is, counted from the record's beginning.
    pub at: usize,
    packed: bool,
}

impl Iterator for RawCells<'_, '_> {
    type Item = (usize, u32);

    #[inline]
    fn next(&mut self) -> Option<(usize, u32)> {
        loop {
            let number = self.next;
            let field = self.fields.get(number)?;
            self.next += 1;
            if field.is_in(self.record) {
                let raw = field.raw(self.record, self.at);
                self.at += field.width;
                return Some((number, raw));
            }
            self.at += if self.packed { 0 } else { field.width };
        }
    }
}

/// Column numbers and values of a row's cells.
#[derive(Clone)]
pub struct Cells<'a> {
    raw: RawCells<'a, 'a>,
    dictionary: &'a [u32],
    first_column: u32,
}

impl Iterator for Cells<'_> {
    type Item = (u32, u32);

    #[inline]
    fn next(&mut self) -> Option<(u32, u32)> {
        let (number, raw) = self.raw.next()?;
        let bits = self.raw.fields[number].bits(raw, self.dictionary);
        Some((self.first_column + number as u32, bits))
    }
}

#[cfg(test)]
#[path = "arrays_tests.rs"]
mod tests;
