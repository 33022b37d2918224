//! What a process of this machine is at, for those who wonder why it does not answer.

/// What the main thread of a process is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It computes, or could if it had a processor.
    Computing,
    /// It waits for something, as a timer, another process or the network.
    Waiting,
    /// A signal has stopped it, or a debugger holds it.
    Stopped,
    /// It waits for memory that was moved to disk.
    Swapping,
    /// It waits for a device that cannot be interrupted.
    Disk,
}

impl Activity {
    /// Of a process; `None` if it has ended, or where the system does not tell.
    pub fn of(pid: u32) -> Option<Activity> {
        parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Computing => "computing",
            Activity::Waiting => "waiting",
            Activity::Stopped => "stopped",
            Activity::Swapping => "swapping",
            Activity::Disk => "disk",
        }
    }

    /// Why it does not stop its task when it is asked to.
    pub(crate) fn why_deaf(self) -> &'static str {
        match self {
            Activity::Computing => "it was busy in code that does not look for interrupts",
            Activity::Waiting => "it waited in code that does not look for interrupts",
            Activity::Stopped => "its process was stopped, as by SIGSTOP",
            Activity::Swapping => "it waited for memory that was swapped out",
            Activity::Disk => "it waited for a disk or another device",
        }
    }
}

fn parse(status: &str) -> Option<Activity> {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
    };
    match field("State:")? {
        "R" => Some(Activity::Computing),
        "T" | "t" => Some(Activity::Stopped),
        "D" if field("VmSwap:").is_some_and(|kilobytes| kilobytes != "0") => {
            Some(Activity::Swapping)
        }
        "D" => Some(Activity::Disk),
        "Z" | "X" => None,
        _ => Some(Activity::Waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_what_it_is() {
        let of = |state: &str, swapped: u32| {
            parse(&format!(
                "Name:\tR\nState:\t{state}\nVmRSS:\t  40 kB\nVmSwap:\t  {swapped} kB\n"
            ))
        };
        assert_eq!(of("R (running)", 9), Some(Activity::Computing));
        assert_eq!(of("S (sleeping)", 0), Some(Activity::Waiting));
        assert_eq!(of("T (stopped)", 0), Some(Activity::Stopped));
        assert_eq!(of("t (tracing stop)", 0), Some(Activity::Stopped));
        assert_eq!(of("D (disk sleep)", 0), Some(Activity::Disk));
        assert_eq!(of("D (disk sleep)", 12), Some(Activity::Swapping));
        assert_eq!(of("Z (zombie)", 0), None);
        assert_eq!(parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_there_and_none_is_not() {
        assert!(Activity::of(std::process::id()).is_some());
        assert_eq!(Activity::of(u32::MAX), None);
    }
}
