//! Whether the kernel has killed processes for want of memory, as its counters say: that of the system, and that of the control
//! group which this process is in, where its daemons are, too.

use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The counters when they were last looked at. Locked on threads of the launcher and at a launch.
static SEEN: Mutex<Option<Kills>> = Mutex::new(None);

/// How often the kernel has killed for want of memory; `None` where it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kills {
    group: Option<u64>,
    system: Option<u64>,
}

impl Kills {
    fn now() -> Kills {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = group_file(&groups).and_then(|file| counter(&file));
        Kills {
            group,
            system: counter(Path::new("/proc/vmstat")),
        }
    }

    /// What the kernel has done since.
    fn since(self, earlier: Kills) -> Option<&'static str> {
        let more = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(n, t)| n > t);
        if more(self.group, earlier.group) {
            Some("was killed by the system for want of memory")
        } else if self.group.is_none() && more(self.system, earlier.system) {
            Some("was killed, perhaps by the system for want of memory")
        } else {
            None
        }
    }
}

/// Takes note of the counters, before there is anything that could be killed.
pub fn note_kills() {
    SEEN.lock().get_or_insert_with(Kills::now);
}

/// What is known of why a process was killed just now, if the kernel has done it.
pub fn kill_by_system() -> Option<&'static str> {
    let now = Kills::now();
    let earlier = SEEN.lock().replace(now)?;
    now.since(earlier)
}

/// The file with the counter of this process's control group, by the text of `/proc/self/cgroup`: of version 1 where that rules
/// memory, else of version 2.
fn group_file(groups: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut unified = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let group = group.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            return Some(root.join("memory").join(group).join("memory.oom_control"));
        }
        if controllers.is_empty() {
            unified = Some(root.join(group).join("memory.events"));
        }
    }
    unified
}

/// The number in the line `oom_kill <number>`.
fn counter(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_either_version() {
        let unified = "0::/user.slice/session-2.scope\n";
        let file = "/sys/fs/cgroup/user.slice/session-2.scope/memory.events";
        assert_eq!(group_file(unified), Some(PathBuf::from(file)));
        let both = "8:pids:/\n4:hugetlb,memory:/job/7\n0::/\n";
        let file = "/sys/fs/cgroup/memory/job/7/memory.oom_control";
        assert_eq!(group_file(both), Some(PathBuf::from(file)));
        assert_eq!(group_file(""), None);
    }

    #[test]
    fn a_kill_in_the_group_is_certain_and_one_elsewhere_is_not_where_the_group_is_known() {
        let kills = |group, system| Kills { group, system };
        let earlier = kills(Some(1), Some(3));
        assert!(kills(Some(2), Some(4)).since(earlier).is_some());
        assert_eq!(kills(Some(1), Some(4)).since(earlier), None);
        let unknown = kills(None, Some(4)).since(kills(None, Some(3)));
        assert!(unknown.is_some_and(|how| how.contains("perhaps")));
    }
}
