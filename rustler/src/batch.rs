//! Batches in closed form: the contexts of a batch depend on (seed, step, i) alone, not on what was
//! drawn before, nor on the number of threads or ranks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::assemble::{Batch, assemble};
use crate::context::{Context, Plan, Recipe, Request, Scratch, build};
use crate::error::{Result, argument};
use crate::labels::LabelIndex;
use crate::rng::{Name, Purpose, Stream};
use crate::settings::{Settings, Source, check_slots};
use crate::task::{Prepared, Task};
use crate::visibility::Split;

/// Draws of a row before the split is searched for one whose target is not null.
const REDRAWS: usize = 64;
/// One context to build.
#[derive(Clone, Copy)]
struct Item {
    task: usize,
    row: u32,
    cutoff: Option<i64>,
    name: Name,
}

/// A finished context and whose it is.
pub struct Built {
    pub task: usize,
    pub store: usize,
    pub row: u32,
    pub context: Context,
}

pub struct Sampler {
    pub paths: Vec<PathBuf>,
    pub settings: Settings,
    pub sources: Vec<Source>,
    pub tasks: Vec<Prepared>,
    labels: Vec<Option<Arc<LabelIndex>>>,
    /// Per split: sums of weights up to and with each task.
    cumulative: [Vec<f64>; 3],
}

impl Sampler {
    pub fn new(paths: Vec<PathBuf>, tasks: Vec<Task>, settings: Settings) -> Result<Self> {
        settings.check()?;
        let sources = Source::open_all(&paths, &settings.embedder)?;
        let mut prepared = Vec::with_capacity(tasks.len());
        for (number, task) in tasks.into_iter().enumerate() {
            let Some(source) = sources.get(task.store) else {
                return argument(format!(
                    "task {number}: there are {} stores, there is no store {}",
                    sources.len(),
                    task.store
                ));
            };
            task.check(number, &source.store.meta)?;
            prepared.push(Prepared::new(task, &source.store.meta));
        }
        Ok(Self {
            labels: label_indices(&sources, &prepared),
            cumulative: [Split::Train, Split::Val, Split::Test]
                .map(|split| cumulative_weights(&prepared, split)),
            paths,
            settings,
            sources,
            tasks: prepared,
        })
    }

    /// The contexts i of global batch `step` with i % world_size == rank.
    pub fn batch(&self, step: u64, rank: usize, world: usize, split: Split) -> Result<Batch> {
        if world == 0 || rank >= world {
            return argument(format!("rank {rank} is not below world_size {world}"));
        }
        let purpose = match split {
            Split::Train => Purpose::Train,
            Split::Val => Purpose::Val,
            Split::Test => Purpose::Test,
        };
        let mut items = Vec::new();
        for i in (rank..self.settings.batch_size).step_by(world) {
            let name = Name {
                purpose,
                seed: self.settings.seed,
                a: step,
                b: i as u64,
            };
            items.push(self.draw_target(name, split)?);
        }
        self.build(&items)
    }

    /// One context for each row of the task's table.
    pub fn contexts(
        &self,
        task: usize,
        rows: &[u32],
        cutoff: Option<i64>,
        seed: u64,
    ) -> Result<Batch> {
        let Some(prepared) = self.tasks.get(task) else {
            return argument(format!(
                "there are {} tasks, there is no task {task}",
                self.tasks.len()
            ));
        };
        check_slots(rows.len(), self.settings.context_length)?;
        let item = |&row: &u32| Item {
            task,
            row,
            cutoff,
            name: Name {
                purpose: Purpose::Given,
                seed,
                a: u64::from(row),
                b: 0,
            },
        };
        if let Some(row) = rows.iter().find(|row| !prepared.rows.contains(row)) {
            return argument(format!(
                "row {row} is not of the table of {}, whose rows are {:?}",
                self.describe(task),
                prepared.rows
            ));
        }
        self.build(&rows.iter().map(item).collect::<Vec<_>>())
    }

    fn describe(&self, task: usize) -> String {
        let prepared = &self.tasks[task].task;
        prepared.describe(task, &self.sources[prepared.store].store.meta)
    }

    /// A task by weight, then a row of its split whose target is not null.
    fn draw_target(&self, name: Name, split: Split) -> Result<Item> {
        let sums = &self.cumulative[split as usize];
        let total = sums.last().copied().unwrap_or(0.0);
        if total <= 0.0 {
            return argument(format!(
                "no task has rows in the split {split:?} and a weight"
            ));
        }
        let mut rng = name.target_stream();
        let drawn = rng.unit() * total;
        // Rounding may give `total` itself: then the last task that has a share.
        let task = match sums.partition_point(|&sum| sum <= drawn) {
            task if task < sums.len() => task,
            _ => sums.partition_point(|&sum| sum < total),
        };
        let row = self.draw_row(task, split, &mut rng)?;
        Ok(Item {
            task,
            row,
            cutoff: None,
            name,
        })
    }

    fn draw_row(&self, number: usize, split: Split, rng: &mut Stream) -> Result<u32> {
        let task = &self.tasks[number].task;
        let arrays = self.sources[task.store].store.arrays();
        let rows = task.split(split);
        let labelled = |row: &u32| arrays.cell(*row, task.column).is_some();
        let mut row = rows.start;
        for _ in 0..REDRAWS {
            row = rows.start + rng.below(rows.len() as u32);
            if labelled(&row) {
                return Ok(row);
            }
        }
        let found = (row..rows.end).chain(rows.start..row).find(labelled);
        found.map_or_else(
            || {
                argument(format!(
                    "{}: the target is null in every row of the split {split:?}",
                    self.describe(number)
                ))
            },
            Ok,
        )
    }

    fn build(&self, items: &[Item]) -> Result<Batch> {
        let threads = self.settings.num_threads.min(items.len().max(1));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scratch = Scratch::default();
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(i) else {
                    return done;
                };
                done.push((i, self.build_one(item, &mut scratch)));
            }
        };
        let mut built = work_on_threads(threads, &work);
        built.sort_unstable_by_key(|&(i, _)| i);
        let built: Vec<Built> = built.into_iter().map(|(_, built)| built).collect();
        Ok(assemble(
            &self.sources,
            &built,
            self.settings.context_length,
        ))
    }

    fn build_one(&self, item: &Item, scratch: &mut Scratch) -> Built {
        let task = &self.tasks[item.task];
        let request = Request {
            store: &self.sources[task.task.store].store,
            task,
            labels: self.labels[item.task].as_deref(),
            row: item.row,
            cutoff: item.cutoff,
            name: item.name,
        };
        let plan = Plan {
            recipe: Recipe::Published {
                max_bfs_width: self.settings.max_bfs_width,
            },
            budget: self.settings.context_length,
            extra_target_share: self.settings.extra_target_share,
        };
        Built {
            task: item.task,
            store: task.task.store,
            row: item.row,
            context: build(request, &plan, scratch),
        }
    }
}

/// Runs `work` on this thread and `threads` - 1 others. The threads end with the batch, so that
/// nothing has to survive a fork.
fn work_on_threads<T: Send>(threads: usize, work: &(impl Fn() -> Vec<T> + Sync)) -> Vec<T> {
    if threads <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

/// One index a table of label rows, shared by its tasks.
fn label_indices(sources: &[Source], tasks: &[Prepared]) -> Vec<Option<Arc<LabelIndex>>> {
    let mut made: HashMap<(usize, u32), Arc<LabelIndex>> = HashMap::new();
    let index = |task: &Prepared| {
        let key = (task.task.store, task.task.table);
        let arrays = sources[key.0].store.arrays();
        let make = || Arc::new(LabelIndex::new(&arrays, task.rows.clone()));
        task.has_label_table
            .then(|| made.entry(key).or_insert_with(make).clone())
    };
    tasks.iter().map(index).collect()
}

/// Tasks without rows in the split have no share.
fn cumulative_weights(tasks: &[Prepared], split: Split) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |task: &Prepared| {
        if !task.task.split(split).is_empty() {
            sum += task.task.weight;
        }
        sum
    };
    tasks.iter().map(add).collect()
}
