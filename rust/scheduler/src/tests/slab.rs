//! Keys of the slab, and what becomes of its slots.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::slab::{Key, Slab, Slot};

/// Many more than a slab that is worth shrinking has.
const BURST: usize = 10_000;

fn fill(slab: &mut Slab<usize>) -> Vec<(Slot, Key)> {
    (0..BURST)
        .map(|value| {
            let slot = slab.insert(value);
            (slot, slab.key(slot))
        })
        .collect()
}

#[test]
fn slots_go_after_a_burst_and_keys_never_come_again() {
    let mut slab = Slab::default();
    let earlier = fill(&mut slab);
    for (slot, _) in &earlier {
        slab.remove(*slot);
    }
    assert_eq!(slab.width(), 0);
    let later = fill(&mut slab);
    assert!(earlier.iter().all(|(_, key)| slab.find(*key).is_none()));
    assert!(
        later
            .iter()
            .all(|(slot, key)| slab.find(*key) == Some(*slot))
    );
}

#[test]
fn what_stays_of_a_burst_holds_only_the_slots_below_it() {
    let mut slab = Slab::default();
    let burst = fill(&mut slab);
    let (stays, key) = burst[BURST / 2];
    for (slot, _) in burst.iter().filter(|(slot, _)| *slot != stays) {
        slab.remove(*slot);
    }
    assert!(slab.width() <= stays as usize + 1 + BURST / 4);
    assert_eq!((slab.find(key), slab[stays]), (Some(stays), BURST / 2));
    // From now on the lower slots are used, so that it is the last to hold a high one.
    let low = slab.insert(0);
    assert!(low < stays);
    slab.remove(stays);
    slab.remove(low);
    assert_eq!(slab.width(), 0);
}

#[test]
fn slots_go_in_the_end_if_the_last_one_leaves_while_others_are_there() {
    let mut slab = Slab::default();
    let burst = fill(&mut slab);
    let (last, rest) = burst.split_last().expect("a burst");
    for (slot, _) in rest {
        slab.remove(*slot);
    }
    assert_eq!(slab.width(), BURST);
    let mut stays = slab.insert(0);
    slab.remove(last.0);
    // There is one at any time.
    for value in 0..3 * BURST {
        let next = slab.insert(value);
        slab.remove(stays);
        stays = next;
    }
    assert!(slab.width() < BURST / 4);
}

#[test]
fn a_cleared_slab_knows_no_earlier_key() {
    let mut slab = Slab::default();
    let earlier = fill(&mut slab);
    slab.clear();
    fill(&mut slab);
    assert!(earlier.iter().all(|(_, key)| slab.find(*key).is_none()));
}

proptest! {
    #[test]
    fn a_slab_is_a_map_that_issues_its_keys(steps in prop::collection::vec((0usize..5, any::<usize>()), 0..3000)) {
        let (mut slab, mut model, mut gone) = (Slab::default(), BTreeMap::new(), Vec::new());
        for (kind, number) in steps {
            // Now more come, now more go, so that it shrinks and grows.
            let comes = kind < if number % 7 < 4 { 4 } else { 1 };
            if comes || model.is_empty() {
                let slot = slab.insert(number);
                prop_assert!(model.insert(slab.key(slot), number).is_none(), "keys differ");
            } else {
                let key = *model.keys().nth(number % model.len()).expect("within bounds");
                let slot = slab.find(key).expect("it is there");
                prop_assert_eq!(Some(slab[slot]), model.remove(&key));
                slab.remove(slot);
                gone.push(key);
            }
            prop_assert_eq!(slab.len(), model.len());
        }
        prop_assert!(gone.iter().all(|key| slab.find(*key).is_none()));
        prop_assert_eq!(slab.slots().count(), model.len());
        for (key, value) in model {
            prop_assert_eq!(slab.find(key).map(|slot| slab[slot]), Some(value));
        }
    }
}
