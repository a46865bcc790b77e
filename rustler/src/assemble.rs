//! Contexts to the arrays of a batch, with the columns and texts of the batch each once.

use std::sync::{Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;

use crate::batch::{Built, Sampler};
use crate::context::{Cell, Context};
use crate::idmap::IdMap;
use crate::meta::SemanticType;
use crate::settings::Source;
use crate::store::NO_TIME;
use crate::task::Prepared;
use crate::threads::work_on_threads;

/// Embeddings that a thread copies at a time: fewer are not worth its start.
const TEXTS_AT_A_TIME: usize = 512;

/// The arrays of a batch; shapes and meaning are in `rustler.pyi`. B contexts of S slots.
#[derive(Default)]
pub struct Batch {
    pub num_contexts: usize,
    pub num_slots: usize,
    pub text_dim: usize,
    pub row: Vec<i32>,
    pub column: Vec<i32>,
    pub semantic_type: Vec<u8>,
    pub value: Vec<f32>,
    pub text: Vec<i32>,
    pub is_target: Vec<bool>,
    pub is_padding: Vec<bool>,
    pub target_slot: Vec<i32>,
    pub target_row: Vec<u32>,
    pub context_task: Vec<i32>,
    pub context_store: Vec<i32>,
    pub context_recipe: Vec<i32>,
    pub context_classes: Vec<i32>,
    pub context_told: Vec<f32>,
    pub context_row_ptr: Vec<i64>,
    pub row_number: Vec<u32>,
    pub row_table: Vec<i32>,
    pub row_time: Vec<i64>,
    pub row_depth: Vec<i32>,
    pub row_part: Vec<u8>,
    pub row_origin: Vec<i32>,
    pub row_alike: Vec<f32>,
    pub parent_ptr: Vec<i64>,
    pub parent: Vec<i32>,
    pub column_text: Vec<i32>,
    pub column_number: Vec<i32>,
    pub column_store: Vec<i32>,
    pub count_ptr: Vec<i64>,
    pub count_key: Vec<i32>,
    pub count: Vec<u32>,
    pub key_text: Vec<i32>,
    pub class_ptr: Vec<i64>,
    pub class_text: Vec<i32>,
    pub text_embedding: Vec<f16>,
}

/// Numbers that the columns, foreign keys and texts of one store have in the batch.
#[derive(Default)]
struct Numbers {
    columns: IdMap,
    keys: IdMap,
    texts: IdMap,
}

struct Assembler<'a> {
    tasks: &'a [Prepared],
    sources: &'a [Source],
    numbers: Vec<Option<Box<Numbers>>>,
    /// Texts of the batch as (store, number in the store).
    texts: Vec<(usize, u32)>,
    batch: Batch,
}

/// The arrays of a batch; embeddings are copied by several threads.
pub fn assemble(sampler: &Sampler, built: &[Built], num_slots: usize, threads: usize) -> Batch {
    let (sources, counted) = (&sampler.sources, sampler.settings.child_counts);
    let slots = built.len() * num_slots;
    let mut assembler = Assembler {
        tasks: &sampler.tasks,
        sources,
        numbers: sources.iter().map(|_| None).collect(),
        texts: Vec::new(),
        batch: Batch {
            num_contexts: built.len(),
            num_slots,
            text_dim: sources.first().map_or(0, |s| s.embeddings.dim),
            row: vec![-1; slots],
            column: vec![-1; slots],
            semantic_type: vec![0; slots],
            value: vec![0.0; slots],
            text: vec![-1; slots],
            is_target: vec![false; slots],
            is_padding: vec![true; slots],
            context_row_ptr: vec![0],
            parent_ptr: vec![0],
            class_ptr: vec![0],
            count_ptr: vec![0; usize::from(counted)],
            ..Batch::default()
        },
    };
    for (b, one) in built.iter().enumerate() {
        assembler.add_rows(one);
        assembler.add_cells(one, b * num_slots);
    }
    // Behind everything else, so that texts have the same numbers without them.
    assembler.add_classes(built);
    built.iter().for_each(|one| assembler.add_counts(one));
    assembler.add_embeddings(threads);
    assembler.batch
}

impl Assembler<'_> {
    fn add_rows(&mut self, built: &Built) {
        let store = &self.sources[built.store].store;
        let (from, out) = (store.arrays(), &mut self.batch);
        let Context {
            rows,
            depth,
            part,
            origin,
            alike,
            parent_ptr,
            parent,
            ..
        } = &built.context;
        out.target_slot.push(built.context.target_cell as i32);
        out.target_row.push(built.row);
        out.context_task.push(built.task as i32);
        out.context_store.push(built.store as i32);
        out.context_recipe.push(built.recipe as i32);
        out.context_told.push(built.context.told);
        let before = out.parent.len() as i64;
        out.parent_ptr
            .extend(parent_ptr[1..].iter().map(|&p| before + i64::from(p)));
        out.parent.extend(parent.iter().map(|&p| p as i32));
        out.row_number.extend_from_slice(rows);
        out.row_depth.extend(depth.iter().map(|&d| d as i32));
        out.row_part.extend_from_slice(part);
        out.row_origin.extend_from_slice(origin);
        out.row_alike.extend_from_slice(alike);
        for &row in rows {
            let (table, time) = match built.new.filter(|_| row == built.row) {
                Some(new) => (self.tasks[built.task].task.table as usize, new.time),
                None => (store.meta.table_of(row), from.time(row)),
            };
            out.row_table.push(table as i32);
            out.row_time.push(time.unwrap_or(NO_TIME));
        }
        out.context_row_ptr.push(out.row_number.len() as i64);
    }

    /// The classes of each task once, and for each context which list is its task's.
    fn add_classes(&mut self, built: &[Built]) {
        let mut lists = IdMap::default();
        for one in built {
            let classes = &self.tasks[one.task].task.classes;
            if classes.is_empty() {
                self.batch.context_classes.push(-1);
                continue;
            }
            let next = self.batch.class_ptr.len() as u32 - 1;
            let (list, new) = lists.insert(one.task as u32, next);
            self.batch.context_classes.push(list as i32);
            if new {
                let mut numbers = self.numbers[one.store].take().unwrap_or_default();
                for &class in classes {
                    let text = self.text(class, one.store, &mut numbers);
                    self.batch.class_text.push(text);
                }
                self.numbers[one.store] = Some(numbers);
                self.batch
                    .class_ptr
                    .push(self.batch.class_text.len() as i64);
            }
        }
    }

    fn add_counts(&mut self, built: &Built) {
        let Some(index) = &self.sources[built.store].keys else {
            return;
        };
        let Context {
            count_ptr,
            count_key,
            count,
            ..
        } = &built.context;
        let before = self.batch.count.len() as i64;
        let ends = count_ptr[1..].iter().map(|&p| before + i64::from(p));
        self.batch.count_ptr.extend(ends);
        self.batch.count.extend_from_slice(count);
        let mut numbers = self.numbers[built.store].take().unwrap_or_default();
        for &key in count_key {
            let new = self.batch.key_text.len() as u32;
            let (number, is_new) = numbers.keys.insert(key, new);
            if is_new {
                let name = index.keys[key as usize].name_text;
                let text = self.text(name, built.store, &mut numbers);
                self.batch.key_text.push(text);
            }
            self.batch.count_key.push(number as i32);
        }
        self.numbers[built.store] = Some(numbers);
    }

    fn add_cells(&mut self, built: &Built, first: usize) {
        let store = built.store;
        let mut numbers = self.numbers[store].take().unwrap_or_default();
        for (i, cell) in built.context.cells.iter().enumerate() {
            let slot = first + i;
            self.add_cell(cell, slot, store, &mut numbers);
        }
        self.numbers[store] = Some(numbers);
    }

    #[inline]
    fn add_cell(&mut self, cell: &Cell, slot: usize, store: usize, numbers: &mut Numbers) {
        let kind = self.sources[store].store.types[cell.column as usize];
        let column = match numbers.columns.get(cell.column) {
            Some(column) => column as i32,
            None => self.new_column(cell.column, store, numbers),
        };
        let text = match (kind, cell.bits) {
            (SemanticType::Text, Some(text)) => self.text(text, store, numbers),
            _ => -1,
        };
        let out = &mut self.batch;
        out.row[slot] = cell.row as i32;
        out.column[slot] = column;
        out.semantic_type[slot] = kind as u8;
        out.text[slot] = text;
        if kind != SemanticType::Text {
            out.value[slot] = f32::from_bits(cell.bits.unwrap_or(0));
        }
        out.is_target[slot] = cell.is_target;
        out.is_padding[slot] = false;
    }

    #[cold]
    fn new_column(&mut self, column: u32, store: usize, numbers: &mut Numbers) -> i32 {
        let name = self.sources[store].store.meta.columns[column as usize].name_text;
        let text = self.text(name, store, numbers);
        let number = self.batch.column_number.len();
        self.batch.column_text.push(text);
        self.batch.column_number.push(column as i32);
        self.batch.column_store.push(store as i32);
        numbers.columns.insert(column, number as u32);
        number as i32
    }

    /// The batch's number of a text.
    fn text(&mut self, text: u32, store: usize, numbers: &mut Numbers) -> i32 {
        let (number, new) = numbers.texts.insert(text, self.texts.len() as u32);
        if new {
            self.texts.push((store, text));
        }
        number as i32
    }

    fn add_embeddings(&mut self, threads: usize) {
        let dim = self.batch.text_dim;
        // Zeros come from the system without being written.
        let mut all = vec![0_u16; self.texts.len() * dim];
        let (sources, texts) = (self.sources, &self.texts[..]);
        let copy = |texts: &[(usize, u32)], out: &mut [u16]| {
            for (&(store, text), out) in texts.iter().zip(out.chunks_exact_mut(dim)) {
                let embedding = sources[store].embeddings.text(text);
                out.copy_from_slice(embedding.reinterpret_cast());
            }
        };
        let pieces = texts.chunks(TEXTS_AT_A_TIME);
        let pieces = Mutex::new(pieces.zip(all.chunks_mut((TEXTS_AT_A_TIME * dim).max(1))));
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let threads = threads.min(texts.len() / TEXTS_AT_A_TIME);
        work_on_threads(threads, &|| {
            while let Some((texts, out)) = next() {
                copy(texts, out);
            }
            Vec::<()>::new()
        });
        self.batch.text_embedding = all.reinterpret_into();
    }
}
