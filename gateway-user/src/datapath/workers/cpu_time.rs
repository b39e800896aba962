//! Processor time of a process.

/// Time that process `pid` has taken in user space and in the kernel, in ns; `None` if there is no such process.
pub(super) fn cpu_time_ns(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // SAFETY: a system call without pointers.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    Some(ticks(&stat)? * 1_000_000_000u64.checked_div(per_second)?)
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, in clock ticks.
fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "77 (a) b) (c) S 1 77 77 0 -1 4194560 1 2 3 4 250 40 5 6 20 0 1 0 99 7 8\n";
        assert_eq!(ticks(stat), Some(290));
        assert_eq!(ticks("77 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_has_taken_some_and_a_missing_one_none() {
        assert!(cpu_time_ns(std::process::id()).is_some());
        assert_eq!(cpu_time_ns(u32::MAX), None);
    }
}
