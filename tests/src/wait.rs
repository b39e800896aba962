//! Waiting for a condition.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Time between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `look` returns a value. After `timeout` the error names `what` and the last error of `look`, if any.
pub fn poll_until<T>(
    timeout: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => return Err(error.context(format!("{what}: not within {timeout:?}"))),
                None => bail!("{what}: not within {timeout:?}"),
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Waits until `condition` holds; see [`poll_until`].
pub fn wait_until(timeout: Duration, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    poll_until(timeout, what, || Ok(condition()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_comes_back_and_a_failure_names_its_reason() {
        let mut looks = 0;
        let third = poll_until(Duration::from_secs(5), "third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third.unwrap(), 3);

        let error = wait_until(Duration::ZERO, "the moon", || bail!("cloudy")).unwrap_err();
        assert_eq!(format!("{error:#}"), "the moon: not within 0ns: cloudy");
    }
}
