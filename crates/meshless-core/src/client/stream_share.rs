//! Divides a connection's concurrent streams between calls, the health watch (gRFC A17) and the
//! load report stream (A51).

/// The streams of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamShare {
    /// How many calls may be on it at a time.
    pub for_calls: u32,
    /// True if the server may be asked for load reports.
    pub reports: bool,
}

impl StreamShare {
    /// Divides `max_streams`. The flags say if a health watch or a report stream runs on the
    /// connection. Reports never take the only stream; the health watch may take it until it ends.
    pub fn of(max_streams: u32, watches_health: bool, wants_reports: bool) -> Self {
        let rest = max_streams.saturating_sub(u32::from(watches_health));
        let reports = wants_reports && rest > 1;
        Self { for_calls: (rest - u32::from(reports)).max(max_streams.min(1)), reports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_what_the_watches_leave_and_at_least_one() {
        for (max_streams, health, reports, expected) in [
            (100, false, false, (100, false)),
            (100, true, true, (98, true)),
            (2, true, true, (1, false)),
            (2, false, true, (1, true)),
            (1, true, true, (1, false)),
            (0, true, true, (0, false)),
            (u32::MAX, false, true, (u32::MAX - 1, true)),
        ] {
            let StreamShare { for_calls, reports } = StreamShare::of(max_streams, health, reports);
            assert_eq!((for_calls, reports), expected, "{max_streams} {health}");
        }
    }
}
