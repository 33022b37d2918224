//! The wheel against a sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::Tick;
use crate::slab::Slot;
use crate::timers::Wheel;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(usize),
    Advance(u64),
}

/// Distances of all magnitudes.
fn distance() -> impl Strategy<Value = u64> {
    (0u32..40, any::<u64>()).prop_map(|(bits, number)| number & ((1 << bits) - 1))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => distance().prop_map(Step::Insert),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => distance().prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn deadlines_come_in_order_and_on_time(steps in prop::collection::vec(step(), 0..200)) {
        let (mut wheel, mut now) = (Wheel::default(), 0u64);
        let mut model: BTreeMap<(u64, usize), Slot> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(distance) => {
                    let slot = wheel.insert(Tick(now), Tick(now + distance), number);
                    model.insert((now + distance, number), slot);
                }
                Step::Remove(index) if !model.is_empty() => {
                    let key = *model.keys().nth(index % model.len()).expect("within bounds");
                    let slot = model.remove(&key).expect("just found");
                    prop_assert_eq!(wheel.remove(slot), key.1);
                }
                Step::Remove(_) => {}
                Step::Advance(distance) => {
                    now += distance;
                    while let Some(what) = wheel.pop_due(Tick(now)) {
                        let ((deadline, expected), _) = model.pop_first().expect("one is due");
                        prop_assert!(deadline <= now);
                        prop_assert_eq!(what, expected);
                    }
                }
            }
            prop_assert_eq!(wheel.check_invariants().len(), model.len());
            let earliest = model.keys().next().map(|key| key.0);
            prop_assert_eq!(wheel.next_look().is_some(), earliest.is_some());
            if let (Some(look), Some(earliest)) = (wheel.next_look(), earliest) {
                prop_assert!(look.0 <= earliest);
            }
            if matches!(step, Step::Advance(_)) {
                prop_assert!(earliest.is_none_or(|earliest| earliest > now));
            }
        }
    }
}
