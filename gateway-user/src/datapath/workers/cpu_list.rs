//! Lists of CPUs.

use std::fmt;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// CPUs by number, in an order that means something, never none: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<u32>);

/// Why a text is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no list of CPUs: expected numbers below {} and ranges of them, such as 0,2-3",
    CpuSet::count()
)]
pub struct CpuListError {
    text: String,
}

impl CpuList {
    /// The CPUs that this process may run on, the last one first.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(in crate::datapath) fn allowed() -> nix::Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let cpus = (0..CpuSet::count()).rev().filter(|cpu| set.is_set(*cpu).unwrap_or(false));
        Ok(Self(cpus.map(|cpu| cpu as u32).collect()))
    }

    /// The CPUs.
    pub(super) fn cpus(&self) -> &[u32] {
        &self.0
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let part = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let [first, last] = [first, last].map(number);
            let range = first?..=last?;
            (!range.is_empty()).then_some(range)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(part).collect();
        let ranges = ranges.ok_or_else(|| CpuListError { text: text.to_owned() })?;
        Ok(Self(ranges.into_iter().flatten().collect()))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

fn number(text: &str) -> Option<u32> {
    // The integer's own parser would take a plus sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten()?;
    ((number as usize) < CpuSet::count()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_keep_their_order() {
        for (text, cpus) in
            [("0", vec![0]), ("3,1", vec![3, 1]), ("0,2-4", vec![0, 2, 3, 4]), ("5-5", vec![5])]
        {
            assert_eq!(text.parse::<CpuList>().unwrap().cpus(), cpus, "{text}");
        }
        assert_eq!("0,2-4".parse::<CpuList>().unwrap().to_string(), "0,2,3,4");
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for text in ["", ",", "1,", "3-1", "-1", "+1", "1-", "a", "0, 1", "4294967295", "1024", "0-99999"] {
            let error = text.parse::<CpuList>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no list of CPUs")), "{error}");
        }
    }

    #[test]
    fn this_process_may_run_somewhere() {
        let allowed = CpuList::allowed().unwrap();
        assert!(allowed.cpus().is_sorted_by(|earlier, later| earlier > later), "{allowed}");
        assert!(!allowed.cpus().is_empty());
    }
}
