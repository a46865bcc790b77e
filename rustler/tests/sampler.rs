//! Properties of the reader and the sampler over random stores and damaged files.

mod common;

use std::collections::HashSet;
use std::path::Path;

use common::{Row, Table, write};
use proptest::prelude::*;
use rustler::assemble::Batch;
use rustler::batch::Sampler;
use rustler::recipe::Recipe;
use rustler::settings::Settings;
use rustler::store::{NO_TIME, Store};
use rustler::task::Task;
use rustler::visibility::Split;

/// Up to three database tables and one of label rows, rows with up to three parents.
fn tables() -> impl Strategy<Value = Vec<Table>> {
    let row = (
        prop::option::weighted(0.8, -20i64..20),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::collection::vec(prop::option::weighted(0.8, 0u32..100), 4),
    );
    let table = (
        prop::collection::vec(0usize..4, 1..4),
        prop::collection::vec(row, 1..8),
    );
    prop::collection::vec(table, 2..5).prop_map(|drawn| {
        let last = drawn.len() - 1;
        let parents: usize = drawn[..last].iter().map(|(_, rows)| rows.len()).sum();
        let make = |(number, (columns, rows)): (usize, (Vec<usize>, Vec<_>))| Table {
            is_task: number == last,
            rows: rows
                .into_iter()
                .map(
                    |(time, links, cells): (_, Vec<prop::sample::Index>, Vec<_>)| Row {
                        time,
                        parents: links.iter().map(|i| i.index(parents) as u32).collect(),
                        cells: cells[..columns.len()].to_vec(),
                    },
                )
                .collect(),
            columns,
        };
        drawn.into_iter().enumerate().map(make).collect()
    })
}

/// One task for the first column of each table; a third of the rows in each split.
fn tasks(tables: &[Table], horizon: Option<i64>) -> Vec<Task> {
    let (mut row, mut column) = (0, 0);
    let mut tasks = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let end = row + table.rows.len() as u32;
        let third = (end - row) / 3;
        let cuts = [row, row + third, row + 2 * third, end];
        tasks.push(Task {
            store: 0,
            table: number as u32,
            column,
            splits: [cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..cuts[3]],
            horizon,
            hidden_columns: vec![],
            hidden_keys: vec![],
            weight: 1.0,
            classes: vec![],
        });
        (row, column) = (end, column + table.columns.len() as u32);
    }
    tasks
}

fn settings(context_length: usize, width: u32, num_threads: usize) -> Settings {
    Settings {
        embedder: "hash".into(),
        context_length: vec![context_length],
        recipes: vec![Recipe {
            width: vec![width],
            ..Recipe::default()
        }],
        batch_size: 6,
        extra_target_share: (0.0, 0.3),
        seed: 11,
        num_threads,
        child_counts: false,
    }
}

fn sampler(folder: &Path, tasks: &[Task], settings: Settings) -> Sampler {
    Sampler::new(vec![folder.to_owned()], tasks.to_vec(), settings).unwrap()
}

/// What holds for every batch, whatever is visible.
fn check_batch(batch: &Batch, bound: i64) {
    for b in 0..batch.num_contexts {
        let slots = b * batch.num_slots..(b + 1) * batch.num_slots;
        let rows = batch.context_row_ptr[b] as usize..batch.context_row_ptr[b + 1] as usize;
        let numbers = &batch.row_number[rows.clone()];
        assert_eq!(numbers[0], batch.target_row[b]);
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        assert!(numbers.len() <= batch.num_slots);
        let target = slots.start + batch.target_slot[b] as usize;
        assert!(batch.is_target[target] && batch.row[target] == 0);
        for slot in slots {
            assert_eq!(batch.is_padding[slot], batch.row[slot] < 0);
            assert!(batch.row[slot] < rows.len() as i32);
            assert!(batch.column[slot] < batch.column_number.len() as i32);
            assert!(batch.value[slot].is_finite());
        }
        for row in rows.clone().skip(1) {
            assert!(batch.row_time[row] <= bound || batch.row_time[row] == NO_TIME);
        }
        for i in batch.parent_ptr[rows.start]..batch.parent_ptr[rows.end] {
            assert!((0..numbers.len() as i32).contains(&batch.parent[i as usize]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn contexts_hold_their_shape_and_their_cutoff(
        tables in tables(), length in 1usize..40, width in 0u32..6,
        cutoff in -25i64..25, horizon in prop::option::of(0i64..9),
    ) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &tables);
        let tasks = tasks(&tables, horizon);
        let one = sampler(folder.path(), &tasks, settings(length, width, 1));
        let two = sampler(folder.path(), &tasks, settings(length, width, 2));
        for (number, task) in tasks.iter().enumerate() {
            let rows: Vec<u32> = (task.splits[0].start..task.splits[2].end).collect();
            let batch = one.contexts(number, &rows, Some(cutoff), (0, 0)).unwrap();
            check_batch(&batch, cutoff);
            let again = two.contexts(number, &rows, Some(cutoff), (0, 0)).unwrap();
            prop_assert_eq!(&batch.row_number, &again.row_number);
            prop_assert_eq!(&batch.is_target, &again.is_target);
            check_batch(&one.contexts(number, &rows, None, (0, 0)).unwrap(), i64::MAX);
        }
    }

    /// A damaged file gives an error or a store that can be sampled; never a panic.
    #[test]
    fn damage_never_panics(
        tables in tables(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        in_meta in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &tables);
        let name = if in_meta { "meta.json" } else { "store.safetensors" };
        let file = folder.path().join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&file, bytes).unwrap();
        if Store::open(folder.path()).is_err() {
            return Ok(());
        }
        let made = Sampler::new(vec![folder.path().to_owned()], tasks(&tables, None), settings(30, 4, 1));
        if let Ok(sampler) = made {
            for step in 0..3 {
                let _ = sampler.batch(step, 0, 1, Split::Test);
            }
        }
    }
}
