//! What daemons evaluate before their first task.

use std::collections::HashMap;

use crate::parts::Parts;

/// How much of what was evaluated everywhere is kept for replacements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayLimit {
    /// Bytes of all together; identical ones count once.
    pub bytes: u64,
    /// Their number, likewise.
    pub count: usize,
}

/// In the order in which they were asked for.
#[derive(Default)]
pub(crate) struct SetUps {
    list: Vec<SetUp>,
    /// `None` where no daemon is replaced.
    limit: Option<ReplayLimit>,
    is_full: bool,
}

struct SetUp {
    parts: Parts,
    /// For all that join, or for replacements only.
    is_for_all: bool,
}

impl SetUps {
    pub(crate) fn set_limit(&mut self, limit: ReplayLimit) {
        self.limit = Some(limit);
    }

    /// For all daemons that join from now on.
    pub(crate) fn add(&mut self, parts: Parts) {
        self.list.push(SetUp {
            parts,
            is_for_all: true,
        });
    }

    /// For those that take the place of others from now on. Says once whether it is too much: then nothing is kept for
    /// these.
    pub(crate) fn add_for_replacements(&mut self, parts: Parts) -> bool {
        let Some(limit) = self.limit.filter(|_| !self.is_full) else {
            return false;
        };
        self.forget_between(&parts);
        let known = self.list.iter().find(|setup| setup.parts == parts);
        let parts = known.map_or(parts, |setup| setup.parts.clone());
        self.list.push(SetUp {
            parts,
            is_for_all: false,
        });
        let kept = self.list.iter().filter(|setup| !setup.is_for_all);
        // Identical ones are one piece of memory.
        let distinct: HashMap<_, u64> = kept
            .map(|setup| {
                let body = &setup.parts.body;
                (body.as_ptr(), body.len() as u64)
            })
            .collect();
        let bytes = distinct.values().sum::<u64>();
        self.is_full = bytes > limit.bytes || distinct.len() > limit.count;
        if self.is_full {
            self.list.retain(|setup| setup.is_for_all);
        }
        self.is_full
    }

    /// Of identical ones the first and the last count: others may need the first, and the last may have put back what others have
    /// changed. With nothing between them they are one.
    fn forget_between(&mut self, parts: &Parts) {
        let is_same = |setup: &SetUp| !setup.is_for_all && setup.parts == *parts;
        let is_repeated = self.list.last().is_some_and(is_same);
        let first = self.list.iter().position(is_same);
        let last = self.list.iter().rposition(is_same);
        if let (Some(first), Some(last)) = (first, last)
            && (is_repeated || last > first)
        {
            self.list.remove(last);
        }
    }

    /// How many a replacement has besides those that all have.
    pub(crate) fn count_for_replacements(&self) -> usize {
        let kept = self.list.iter().filter(|setup| !setup.is_for_all);
        kept.count()
    }

    /// What a daemon has to do as its `nth`.
    pub(crate) fn get(&self, is_replacement: bool, nth: usize) -> Option<&Parts> {
        let mut list = self.list.iter();
        let setup = match is_replacement {
            true => list.nth(nth),
            false => list.filter(|setup| setup.is_for_all).nth(nth),
        };
        setup.map(|setup| &setup.parts)
    }

    pub(crate) fn take(&mut self) -> Vec<Parts> {
        let list = std::mem::take(&mut self.list);
        list.into_iter().map(|setup| setup.parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Task;

    fn parts(body: &str) -> Parts {
        Task::new(body.as_bytes().to_vec()).into()
    }

    fn with(limit: ReplayLimit, bodies: &[&str]) -> SetUps {
        let mut setups = SetUps::default();
        setups.set_limit(limit);
        for body in bodies {
            setups.add_for_replacements(parts(body));
        }
        setups
    }

    const LIMIT: ReplayLimit = ReplayLimit {
        bytes: 10,
        count: 5,
    };

    fn bodies(setups: &SetUps) -> String {
        let of = |nth| setups.get(true, nth);
        (0..)
            .map_while(of)
            .map(|parts| parts.body[0] as char)
            .collect()
    }

    #[test]
    fn of_identical_ones_the_first_and_the_last_count() {
        assert_eq!(bodies(&with(LIMIT, &["a", "a", "a"])), "a");
        assert_eq!(bodies(&with(LIMIT, &["a", "b", "a"])), "aba");
        assert_eq!(
            bodies(&with(LIMIT, &["a", "b", "a", "b", "a", "b", "b"])),
            "abab"
        );
    }

    #[test]
    fn identical_ones_count_once() {
        let limit = ReplayLimit { bytes: 5, count: 2 };
        let mut setups = with(limit, &["aaa", "b", "aaa", "b"]);
        assert_eq!(bodies(&setups), "abab");
        assert!(setups.add_for_replacements(parts("c")));
    }

    #[test]
    fn those_for_all_keep_their_places() {
        let mut setups = with(LIMIT, &["a"]);
        setups.add(parts("b"));
        setups.add_for_replacements(parts("c"));
        assert_eq!(bodies(&setups), "abc");
        assert_eq!(setups.count_for_replacements(), 2);
        assert_eq!(setups.get(false, 0).map(|parts| parts.body[0]), Some(b'b'));
        assert!(setups.get(false, 1).is_none());
    }

    #[test]
    fn too_much_is_told_once_and_not_kept() {
        let mut setups = with(LIMIT, &["a", "b"]);
        setups.add(parts("all"));
        assert!(setups.add_for_replacements(parts("ten bytes!")));
        assert!(!setups.add_for_replacements(parts("c")));
        assert_eq!(setups.count_for_replacements(), 0);
        assert!(setups.get(true, 0).is_some());
        let mut setups = with(LIMIT, &["1", "2", "3", "4", "5"]);
        assert!(setups.add_for_replacements(parts("6")));
    }

    #[test]
    fn where_no_daemon_is_replaced_nothing_is_kept() {
        let mut setups = SetUps::default();
        assert!(!setups.add_for_replacements(parts("a")));
        assert_eq!(setups.count_for_replacements(), 0);
    }
}
