//! Elementary functions against those of f64, with each set of instructions at hand.

use super::block::{Lane, ROWS, ZERO};
use super::math;
use crate::kernels::simd::{Kernel, Simd, on_all};

macro_rules! check {
    ($name:ident, $function:ident, $exact:expr, $range:expr, $tolerance:expr) => {
        #[test]
        fn $name() {
            #[derive(Clone)]
            struct Check<'a>(&'a [f32]);
            impl Kernel for Check<'_> {
                #[inline(always)]
                fn run<S: Simd>(self, _: S) {
                    let mut found = self.0.to_vec();
                    for value in found.iter_mut() {
                        *value = math::$function::<S>(*value);
                    }
                    for (&x, &found) in self.0.iter().zip(&found) {
                        let exact: f64 = $exact(f64::from(x));
                        let bound = $tolerance * exact.abs().max(1e-3);
                        assert!(
                            (f64::from(found) - exact).abs() < bound,
                            "{x}: {found} {exact}"
                        );
                    }
                }
            }
            let (low, high): (f64, f64) = $range;
            let count = 20_000;
            let at = |i: usize| (low + (high - low) * i as f64 / count as f64) as f32;
            on_all(Check(&(0..=count).map(at).collect::<Vec<f32>>()));
        }
    };
}

check!(exp, exp, f64::exp, (-86.0, 87.0), 1e-6);
check!(ln, ln, f64::ln, (1e-6, 300.0), 1e-6);
check!(ln_1p, ln_1p, f64::ln_1p, (0.0, 300.0), 1e-6);
check!(tanh, tanh, f64::tanh, (-12.0, 12.0), 1e-6);
check!(sin, sin, f64::sin, (-8192.0, 8192.0), 3e-4);
check!(cos, cos, f64::cos, (-8192.0, 8192.0), 3e-4);
check!(exp_m1, exp_m1, f64::exp_m1, (-20.0, 20.0), 1e-6);

#[test]
fn lanes_stand_on_cache_lines() {
    let lanes: Vec<Lane> = vec![ZERO; 3];
    assert_eq!(size_of::<Lane>(), 4 * ROWS);
    assert!(
        lanes
            .iter()
            .all(|lane| (lane.as_ptr() as usize).is_multiple_of(64))
    );
}
