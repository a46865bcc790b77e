//! Each rule has a case that fails when the rule is broken, in both directions.

use super::*;
use Split::{Test, Train, Val};
use proptest::prelude::*;

fn target(time: Option<i64>, cutoff: Option<i64>, horizon: Option<i64>) -> Target {
    Target::new(time, cutoff, Train, horizon)
}

fn untimed(split: Split, cutoff: Option<i64>) -> Target {
    Target::new(None, cutoff, split, None)
}

#[test]
fn the_bound_is_the_smaller_of_those_that_exist() {
    assert_eq!(bound(Some(5), Some(3)), Some(3));
    assert_eq!(bound(Some(3), Some(5)), Some(3));
    assert_eq!(bound(Some(3), None), Some(3));
    assert_eq!(bound(None, Some(3)), Some(3));
    assert_eq!(bound(None, None), None);
}

#[test]
fn rows_at_the_bound_are_visible_and_later_ones_are_not() {
    let t = target(Some(100), None, None);
    assert!(t.sees_row(Some(99), None));
    assert!(t.sees_row(Some(100), None));
    assert!(!t.sees_row(Some(101), None));
    assert!(t.sees_row(None, None));
    assert!(t.sees_row(Some(i64::MIN + 1), None));
}

#[test]
fn a_cutoff_before_the_target_hides_what_lies_between() {
    let t = target(Some(100), Some(50), None);
    assert!(t.sees_row(Some(50), None));
    assert!(!t.sees_row(Some(51), None));
    assert!(t.sees_label(Some(50), Train));
    assert!(!t.sees_label(Some(51), Train));
}

#[test]
fn a_cutoff_after_the_target_shows_nothing_after_the_target() {
    let t = target(Some(100), Some(500), None);
    assert!(!t.sees_row(Some(101), None));
    assert!(!t.sees_label(Some(100), Train));
}

#[test]
fn labels_without_horizon_are_known_strictly_before_the_target() {
    let t = target(Some(100), None, None);
    assert!(t.sees_label(Some(99), Test));
    assert!(!t.sees_label(Some(100), Train));
    assert!(!t.sees_label(None, Train));
}

#[test]
fn labels_with_horizon_are_known_when_their_window_has_ended() {
    let t = target(Some(100), None, Some(10));
    assert!(t.sees_label(Some(90), Train));
    assert!(!t.sees_label(Some(91), Train));
    let cut = target(Some(100), Some(95), Some(10));
    assert!(cut.sees_label(Some(85), Train));
    assert!(!cut.sees_label(Some(86), Train));
}

#[test]
fn a_horizon_of_zero_shows_no_label_of_the_same_time() {
    assert!(!target(Some(100), None, Some(0)).sees_label(Some(100), Train));
}

#[test]
fn a_horizon_beyond_the_end_of_time_does_not_wrap() {
    let t = target(Some(100), None, Some(i64::MAX));
    assert!(!t.sees_label(Some(50), Train));
}

#[test]
fn untimed_targets_do_not_see_rows_of_later_splits() {
    for (split, sees) in [(Train, [true, false, false]), (Val, [true, true, false])] {
        let t = untimed(split, None);
        assert_eq!([Train, Val, Test].map(|s| t.sees_row(None, Some(s))), sees);
        assert_eq!(
            [Train, Val, Test].map(|s| t.sees_row(Some(9), Some(s))),
            sees
        );
    }
    assert!(untimed(Test, None).sees_row(None, Some(Test)));
    assert!(untimed(Train, None).sees_row(Some(i64::MAX), None));
}

#[test]
fn with_a_bound_rows_of_later_splits_are_seen_by_their_time_alone() {
    for t in [target(Some(5), None, None), untimed(Train, Some(5))] {
        assert!(t.sees_row(Some(5), Some(Test)) && t.sees_row(None, Some(Test)));
        assert!(!t.sees_row(Some(6), Some(Train)));
    }
}

#[test]
fn untimed_targets_see_labels_of_earlier_splits_only() {
    let sees = |split, cutoff| {
        let t = untimed(split, cutoff);
        [Train, Val, Test].map(|s| t.sees_label(None, s))
    };
    for cutoff in [None, Some(7)] {
        assert_eq!(sees(Train, cutoff), [true, false, false]);
        assert_eq!(sees(Val, cutoff), [true, false, false]);
        assert_eq!(sees(Test, cutoff), [true, true, false]);
    }
}

#[test]
fn a_cutoff_bounds_what_an_untimed_target_sees() {
    let t = untimed(Test, Some(50));
    assert!(t.sees_row(Some(50), Some(Test)));
    assert!(!t.sees_row(Some(51), None));
    assert!(t.sees_label(Some(50), Train));
    assert!(!t.sees_label(Some(51), Train));
    let forecast = Target::new(None, Some(50), Test, Some(10));
    assert!(forecast.sees_label(Some(40), Train));
    assert!(!forecast.sees_label(Some(41), Train));
}

#[test]
fn hidden_columns_show_where_the_label_is_known() {
    let t = target(Some(100), None, None);
    assert!(t.sees_hidden(Some(99)));
    assert!(!t.sees_hidden(Some(100)));
    assert!(!t.sees_hidden(None));
    let forecast = target(Some(100), None, Some(10));
    assert!(forecast.sees_hidden(Some(90)));
    assert!(!forecast.sees_hidden(Some(91)));
    for cutoff in [None, Some(50)] {
        assert!(!untimed(Test, cutoff).sees_hidden(Some(10)));
        assert!(!untimed(Test, cutoff).sees_hidden(None));
    }
}

#[test]
fn rows_in_no_split_count_as_test() {
    let splits = [0..5, 5..7, 9..10];
    assert_eq!(
        [0, 4, 5, 6].map(|r| split_of(r, &splits)),
        [Train, Train, Val, Val]
    );
    assert_eq!([7, 8, 9, 10].map(|r| split_of(r, &splits)), [Test; 4]);
}

proptest! {
    /// Nothing that happens at or after the bound can be told from the labels: the window of a
    /// known label lies before both the target and the cutoff.
    #[test]
    fn known_labels_lie_in_the_past(
        time in any::<Option<i64>>(), t in any::<i64>(), cutoff in any::<Option<i64>>(),
        horizon in prop::option::of(0i64..1000),
    ) {
        let target = target(Some(t), cutoff, horizon);
        if target.sees_label(time, Train) {
            let end = i128::from(time.unwrap()) + i128::from(horizon.unwrap_or(0));
            prop_assert!(time.unwrap() < t);
            prop_assert!(end <= i128::from(cutoff.unwrap_or(t).min(t)));
            prop_assert!(target.sees_row(time, None));
        }
    }

    /// An earlier bound never shows more.
    #[test]
    fn seeing_is_monotone_in_the_cutoff(
        time in prop::option::of(-50i64..50), t in prop::option::of(-50i64..50),
        first in -50i64..50, later in 0i64..50, horizon in prop::option::of(0i64..20),
    ) {
        let small = target(t, Some(first), horizon);
        let large = target(t, Some(first + later), horizon);
        prop_assert!(!small.sees_row(time, None) || large.sees_row(time, None));
        prop_assert!(!small.sees_label(time, Train) || large.sees_label(time, Train));
        prop_assert!(!small.sees_hidden(time) || large.sees_hidden(time));
    }
}
