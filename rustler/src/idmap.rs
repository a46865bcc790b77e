//! A small map from u32 to u32 for hot loops: open addressing, multiplicative hashing, cleared in
//! constant time by a generation number.

#[derive(Clone, Copy, Default)]
struct Slot {
    generation: u32,
    key: u32,
    value: u32,
}

pub struct IdMap {
    slots: Vec<Slot>,
    generation: u32,
    len: usize,
}

impl Default for IdMap {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); 256],
            generation: 1,
            len: 0,
        }
    }
}

impl IdMap {
    pub fn clear(&mut self) {
        self.len = 0;
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.slots.fill(Slot::default());
            self.generation = 1;
        }
    }

    /// Inserts unless the key is there; gives the value that is there afterwards, and whether it
    /// is new.
    #[inline]
    pub fn insert(&mut self, key: u32, value: u32) -> (u32, bool) {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let place = self.place(key);
        let slot = &mut self.slots[place];
        if slot.generation == self.generation {
            return (slot.value, false);
        }
        *slot = Slot {
            generation: self.generation,
            key,
            value,
        };
        self.len += 1;
        (value, true)
    }

    #[inline]
    pub fn get(&self, key: u32) -> Option<u32> {
        let slot = self.slots[self.place(key)];
        (slot.generation == self.generation).then_some(slot.value)
    }

    /// The slot of `key`, or the empty one where it would go. At most half of the slots are used,
    /// so there is one.
    #[inline]
    fn place(&self, key: u32) -> usize {
        let mask = self.slots.len() - 1;
        let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut place = (hash >> 32) as usize & mask;
        loop {
            let slot = &self.slots[place];
            if slot.generation != self.generation || slot.key == key {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![Slot::default(); self.slots.len() * 4];
        let old = std::mem::replace(&mut self.slots, larger);
        let generation = std::mem::replace(&mut self.generation, 1);
        self.len = 0;
        for slot in old.iter().filter(|s| s.generation == generation) {
            self.insert(slot.key, slot.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(rounds in prop::collection::vec(
            prop::collection::vec((0u32..2000, any::<u32>()), 0..900), 1..4)) {
            let mut map = IdMap::default();
            for round in rounds {
                map.clear();
                let mut twin = HashMap::new();
                for (key, value) in round {
                    let new = !twin.contains_key(&key);
                    let kept = *twin.entry(key).or_insert(value);
                    prop_assert_eq!(map.insert(key, value), (kept, new));
                }
                for key in 0..2000 {
                    prop_assert_eq!(map.get(key), twin.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn clearing_survives_the_generation_number_wrapping() {
        let mut map = IdMap::default();
        map.insert(5, 1);
        map.generation = u32::MAX;
        map.insert(6, 1);
        map.clear();
        assert_eq!((map.get(5), map.get(6)), (None, None));
    }
}
