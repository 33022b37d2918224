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

/// What has become of one that was to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// No daemon is replaced, or there was too much before.
    NotKept,
    /// There is too much now: from here on nothing is kept. Said once.
    TooMuch,
    /// It is kept, by this number, beside an identical one or not.
    Kept(u64),
}

/// In the order in which they were asked for.
#[derive(Default)]
pub(crate) struct SetUps {
    list: Vec<SetUp>,
    /// `None` where no daemon is replaced.
    limit: Option<ReplayLimit>,
    is_full: bool,
    /// How many were added.
    added: u64,
}

struct SetUp {
    parts: Parts,
    /// For all that join, or for replacements only.
    is_for_all: bool,
    /// The calls that it stands for, identical ones, of which nobody knows yet whether they have failed.
    open: Vec<u64>,
    /// One of them has not failed everywhere.
    has_succeeded: bool,
}

impl SetUps {
    pub(crate) fn set_limit(&mut self, limit: ReplayLimit) {
        self.limit = Some(limit);
    }

    /// For all daemons that join from now on.
    pub(crate) fn add(&mut self, parts: Parts) {
        self.push(parts, true);
    }

    fn push(&mut self, parts: Parts, is_for_all: bool) -> u64 {
        self.added += 1;
        self.list.push(SetUp {
            parts,
            is_for_all,
            open: vec![self.added],
            has_succeeded: false,
        });
        self.added
    }

    /// For those that take the place of others from now on.
    pub(crate) fn add_for_replacements(&mut self, parts: Parts) -> Added {
        let Some(limit) = self.limit.filter(|_| !self.is_full) else {
            return Added::NotKept;
        };
        let merged = self.forget_between(&parts);
        let known = self.list.iter().find(|setup| setup.parts == parts);
        let known = known.or(merged.as_ref());
        let parts = known.map_or(parts, |setup| setup.parts.clone());
        let number = self.push(parts, false);
        if let (Some(merged), Some(last)) = (merged, self.list.last_mut()) {
            last.open.extend(merged.open);
            last.has_succeeded = merged.has_succeeded;
        }
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
            return Added::TooMuch;
        }
        Added::Kept(number)
    }

    /// A call has failed on all daemons, or not. What has failed at each call of it has set up nothing, and is forgotten.
    pub(crate) fn note_result(&mut self, number: u64, has_failed: bool) -> Option<Parts> {
        let is_it = |setup: &SetUp| setup.open.contains(&number);
        let at = self.list.iter().position(is_it)?;
        let setup = &mut self.list[at];
        setup.open.retain(|open| *open != number);
        setup.has_succeeded |= !has_failed;
        let is_over = setup.open.is_empty() && !setup.has_succeeded;
        is_over.then(|| self.list.remove(at).parts)
    }

    /// Of identical ones the first and the last count: others may need the first, and the last may have put back what others have
    /// changed. With nothing between them they are one. Returns the one that goes, for which the next stands.
    fn forget_between(&mut self, parts: &Parts) -> Option<SetUp> {
        let is_same = |setup: &SetUp| !setup.is_for_all && setup.parts == *parts;
        let is_repeated = self.list.last().is_some_and(is_same);
        let first = self.list.iter().position(is_same);
        let last = self.list.iter().rposition(is_same);
        let (first, last) = (first?, last?);
        (is_repeated || last > first).then(|| self.list.remove(last))
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
        assert_eq!(setups.add_for_replacements(parts("c")), Added::TooMuch);
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
        assert_eq!(
            setups.add_for_replacements(parts("ten bytes!")),
            Added::TooMuch
        );
        assert_eq!(setups.add_for_replacements(parts("c")), Added::NotKept);
        assert_eq!(setups.count_for_replacements(), 0);
        assert!(setups.get(true, 0).is_some());
        let mut setups = with(LIMIT, &["1", "2", "3", "4", "5"]);
        assert_eq!(setups.add_for_replacements(parts("6")), Added::TooMuch);
    }

    fn kept(setups: &mut SetUps, body: &str) -> u64 {
        match setups.add_for_replacements(parts(body)) {
            Added::Kept(number) => number,
            other => panic!("it is kept: {other:?}"),
        }
    }

    #[test]
    fn what_has_failed_is_forgotten() {
        let mut setups = with(LIMIT, &["a"]);
        let number = kept(&mut setups, "b");
        kept(&mut setups, "a");
        let forgotten = setups.note_result(number, true);
        assert!(forgotten.is_some_and(|it| it == parts("b")));
        assert!(setups.note_result(number, true).is_none());
        assert_eq!(bodies(&setups), "aa");
    }

    #[test]
    fn identical_ones_are_forgotten_when_all_have_failed() {
        for second_fails in [true, false] {
            for is_second_first in [true, false] {
                let mut setups = with(LIMIT, &["a"]);
                let first = kept(&mut setups, "b");
                let second = kept(&mut setups, "b");
                assert_eq!(bodies(&setups), "ab");
                let mut results = [(first, true), (second, second_fails)];
                if is_second_first {
                    results.reverse();
                }
                for (number, has_failed) in results {
                    setups.note_result(number, has_failed);
                }
                let left = if second_fails { "a" } else { "ab" };
                assert_eq!(bodies(&setups), left);
            }
        }
    }

    #[test]
    fn where_no_daemon_is_replaced_nothing_is_kept() {
        let mut setups = SetUps::default();
        assert_eq!(setups.add_for_replacements(parts("a")), Added::NotKept);
        assert_eq!(setups.count_for_replacements(), 0);
    }
}
