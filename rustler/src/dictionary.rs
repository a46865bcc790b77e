//! The distinct values of a column, and each value's place among them.

use crate::idmap::IdMap;

/// Places have 16 bits.
pub const MOST: usize = 1 << 16;

/// Distinct values in the order in which they come, and for each value its place among them; None
/// if there are more than `limit`, at most `MOST`. Where `valid` is false the place is 0.
pub fn encode(
    values: &[u32],
    valid: Option<&[bool]>,
    limit: usize,
) -> Option<(Vec<u32>, Vec<u16>)> {
    let limit = limit.min(MOST);
    let mut distinct = Vec::new();
    let mut places = Vec::new();
    let mut map = IdMap::default();
    // Equal values often follow each other.
    let mut last = (0, 0);
    for (i, &value) in values.iter().enumerate() {
        if valid.is_some_and(|valid| !valid[i]) {
            places.push(0);
            continue;
        }
        if distinct.is_empty() || value != last.0 {
            let (place, new) = map.insert(value, distinct.len() as u32);
            if new {
                if distinct.len() == limit {
                    return None;
                }
                distinct.push(value);
            }
            last = (value, place as u16);
        }
        places.push(last.1);
    }
    Some((distinct, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_to_the_values() {
        let values = [7, 7, 0, 9, 7, 0, u32::MAX];
        let (distinct, places) = encode(&values, None, 4).unwrap();
        assert_eq!(distinct, [7, 0, 9, u32::MAX]);
        assert_eq!(places, [0, 0, 1, 2, 0, 1, 3]);
        assert_eq!(encode(&values, None, 3), None);
    }

    #[test]
    fn values_that_are_not_valid_do_not_count() {
        let valid = [false, true, false, true];
        let (distinct, places) = encode(&[5, 6, 5, 6], Some(&valid), 1).unwrap();
        assert_eq!((distinct, places), (vec![6], vec![0, 0, 0, 0]));
        let none = encode(&[1, 2], Some(&[false, false]), 0).unwrap();
        assert_eq!(none, (vec![], vec![0, 0]));
    }

    #[test]
    fn all_places_of_16_bits_are_used_and_no_more() {
        let values: Vec<u32> = (0..MOST as u32).map(|i| i * 3).collect();
        let (distinct, places) = encode(&values, None, usize::MAX).unwrap();
        assert_eq!((distinct, places[MOST - 1]), (values.clone(), u16::MAX));
        let more: Vec<u32> = values.into_iter().chain([1]).collect();
        assert_eq!(encode(&more, None, usize::MAX), None);
    }
}
