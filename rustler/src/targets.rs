//! Which target a context of a batch is for, and by which recipe it is made.

use crate::batch::{Item, Sampler};
use crate::error::{Result, argument};
use crate::rng::{Name, Stream};
use crate::task::Prepared;
use crate::visibility::Split;

/// Draws of a row before the rows whose target is not null are looked up.
const REDRAWS: usize = 64;

impl Sampler {
    /// A task by weight, then a row of its split whose target is not null.
    pub(crate) fn draw_target(&self, name: Name, split: Split) -> Result<Item> {
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
            recipe: self.draw_recipe(&mut rng),
            row,
            new: None,
            cutoff: None,
            name,
        })
    }

    /// A recipe by weight.
    fn draw_recipe(&self, rng: &mut Stream) -> usize {
        let recipes = &self.settings.recipes;
        if recipes.len() == 1 {
            return 0;
        }
        let mut left = rng.unit() * recipes.iter().map(|recipe| recipe.weight).sum::<f64>();
        let found = recipes.iter().position(|recipe| {
            left -= recipe.weight;
            left < 0.0
        });
        // Rounding may leave nothing: then the last recipe that has a weight.
        let last = recipes.iter().rposition(|recipe| recipe.weight > 0.0);
        found.or(last).unwrap_or(0)
    }

    fn draw_row(&self, number: usize, split: Split, rng: &mut Stream) -> Result<u32> {
        let task = &self.tasks[number].task;
        let arrays = self.sources[task.store].store.arrays();
        let rows = task.split(split);
        let labelled = |row: &u32| arrays.cell(*row, task.column).is_some();
        for _ in 0..REDRAWS {
            let row = rows.start + rng.below(rows.len() as u32);
            if labelled(&row) {
                return Ok(row);
            }
        }
        // Few rows have a label: they are looked up once.
        let few = &self.labelled[number][split as usize];
        let few = few.get_or_init(|| rows.filter(labelled).collect());
        if few.is_empty() {
            return argument(format!(
                "{}: the target is null in every row of the split {split:?}",
                self.describe(number)
            ));
        }
        Ok(few[rng.below(few.len() as u32) as usize])
    }
}

/// Tasks without rows in the split have no share.
pub fn cumulative_weights(tasks: &[Prepared], split: Split) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |task: &Prepared| {
        if !task.task.split(split).is_empty() {
            sum += task.task.weight;
        }
        sum
    };
    tasks.iter().map(add).collect()
}
