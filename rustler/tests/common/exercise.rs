//! Everything that can be read from a store, and contexts drawn from it.

use std::path::Path;

use rustler::assemble::Batch;
use rustler::batch::Sampler;
use rustler::error::Result;
use rustler::recipe::{Order, Recipe};
use rustler::settings::Settings;
use rustler::store::Store;
use rustler::task::Task;
use rustler::visibility::Split;

/// The published recipe.
pub fn published(width: u32) -> Recipe {
    Recipe {
        width: vec![width],
        ..Recipe::default()
    }
}

/// A recipe with label rows of the same entity and of others.
pub fn with_labels(width: u32, order: Order, walks: u32) -> Recipe {
    Recipe {
        ancestors: vec![0.2],
        own_labels: vec![0.125],
        other_labels: vec![0.375],
        other_order: vec![order],
        walks: vec![walks],
        width_per_table: true,
        ..published(width)
    }
}

/// Settings by the sizes that tests and benchmarks choose.
pub fn settings(context_length: usize, recipes: Vec<Recipe>, batch_size: usize) -> Settings {
    Settings {
        embedder: "hash".into(),
        context_length: vec![context_length],
        recipes,
        batch_size,
        extra_target_share: (0.0, 0.3),
        seed: 11,
        num_threads: 1,
        child_counts: false,
    }
}

/// One task for the first column of each table that has one; a third of the rows in each split.
pub fn first_columns(store: &Store, horizon: Option<i64>) -> Vec<Task> {
    let tables = store.meta.tables.iter().enumerate();
    let with_columns = tables.filter(|(_, table)| !table.columns().is_empty());
    let task = |(number, table): (usize, &rustler::meta::Table)| {
        let rows = table.rows();
        let third = rows.len() as u32 / 3;
        let cuts = [rows.start + third, rows.start + 2 * third];
        Task {
            store: 0,
            table: number as u32,
            column: table.columns().start,
            splits: [rows.start..cuts[0], cuts[0]..cuts[1], cuts[1]..rows.end],
            horizon,
            hidden_columns: vec![],
            hidden_keys: vec![],
            weight: 1.0,
            classes: vec![],
        }
    };
    with_columns.map(task).collect()
}

/// Opens the store, reads every row and draws contexts of some of them; gives the last batch.
pub fn exercise(folder: &Path) -> Result<Option<Batch>> {
    let store = Store::open(folder)?;
    read_all(&store);
    let tasks = first_columns(&store, Some(2));
    let recipes = vec![
        published(3),
        with_labels(2, Order::Recency, 1),
        with_labels(2, Order::Walks, 30),
    ];
    let count = recipes.len();
    let settings = settings(24, recipes, 4);
    let sampler = Sampler::new(vec![folder.to_owned()], tasks.clone(), settings)?;
    let mut last = None;
    for (number, task) in tasks.iter().enumerate() {
        let mut rows: Vec<u32> = (task.splits[0].start..task.splits[2].end).collect();
        rows.truncate(8);
        for recipe in 0..count {
            for cutoff in [None, Some(0)] {
                last = Some(sampler.contexts(number, &rows, cutoff, (0, recipe))?);
            }
        }
    }
    for split in [Split::Train, Split::Val, Split::Test] {
        // A split may have no row with a value: an error, not a panic.
        let _ = sampler.batch(1, 0, 1, split);
    }
    Ok(last)
}

/// Every row with its cells, parents and children: the checks have made all places valid.
pub fn read_all(store: &Store) -> u64 {
    let arrays = store.arrays();
    let mut sum = 0;
    for row in 0..store.meta.num_rows as u32 {
        let (children, ranks) = arrays.children(row);
        assert!(
            store.meta.tables[store.meta.table_of(row)]
                .rows()
                .contains(&row)
        );
        assert_eq!(arrays.cells(row).count(), arrays.num_cells(row));
        assert_eq!(children.len(), ranks.len());
        let cells = arrays.cells(row);
        sum += cells
            .map(|(column, bits)| store.types[column as usize] as u64 + u64::from(bits & 1))
            .sum::<u64>();
        let rows = arrays.parents(row).chain(children.iter().copied());
        sum += rows
            .map(|row| arrays.time(row).unwrap_or(0) as u64 & 1)
            .sum::<u64>();
    }
    sum
}
