//! Points in time as certificates have them.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use x509_parser::time::ASN1Time;

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date(i64);

impl Date {
    pub(super) fn since_epoch(elapsed: Duration) -> Self {
        Self(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
    }

    pub(super) fn of(time: &ASN1Time) -> Self {
        Self(time.timestamp())
    }
}

impl From<Date> for UnixTime {
    fn from(Date(seconds): Date) -> Self {
        Self::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }
}

impl From<UnixTime> for Date {
    fn from(time: UnixTime) -> Self {
        Self::since_epoch(Duration::from_secs(time.as_secs()))
    }
}

impl fmt::Display for Date {
    /// Such as `2026-01-31 12:00 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = ASN1Time::from_timestamp(self.0) else { return f.write_str("an impossible date") };
        let time = time.to_datetime();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", time.hour(), time.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_shown_in_utc() {
        assert_eq!(Date(1_769_860_800).to_string(), "2026-01-31 12:00 UTC");
        assert_eq!(Date::since_epoch(Duration::ZERO).to_string(), "1970-01-01 00:00 UTC");
        assert_eq!(Date::since_epoch(Duration::MAX).to_string(), "an impossible date");
    }
}
