//! Numbers for people: `1.2 %`, `104 ms`, `20 k`. Used by every part of the report except JSON and
//! CSV.
//!
//! The space before a unit does not break ([`NBSP`]); the space inside a number is also narrow.

/// Keeps a number and its unit on one line.
pub(crate) const NBSP: char = '\u{a0}';
const NARROW: char = '\u{202f}';

/// Formats a fraction as per cent. Above zero it is never shown as zero, and below one never as
/// 100 %.
pub(crate) fn percent(fraction: f64) -> String {
    let p = fraction * 100.0;
    let number = match p {
        _ if !p.is_finite() => return "–".into(),
        _ if p <= 0.0 => "0".into(),
        _ if p < 0.01 => "<0.01".into(),
        _ if p < 0.1 => format!("{p:.2}"),
        _ if p < 9.95 => trim(format!("{p:.1}")),
        _ if (99.5..100.0).contains(&p) => {
            if p < 99.95 {
                format!("{p:.1}")
            } else {
                ">99.9".into()
            }
        }
        _ => format!("{p:.0}"),
    };
    format!("{number}{NBSP}%")
}

/// The same with all digits, for the ticks of a scale: they are round already, and after more
/// rounding two could look the same.
pub(crate) fn percent_mark(fraction: f64) -> String {
    format!("{}{NBSP}%", trim(format!("{:.6}", fraction * 100.0)))
}

/// Milliseconds, from 1 s on in seconds.
pub(crate) fn ms(ms: f64) -> String {
    let text = match ms {
        _ if !ms.is_finite() => "–".into(),
        _ if ms.abs() >= 1000.0 => format!("{}{NBSP}s", trim(format!("{:.2}", ms / 1000.0))),
        _ if ms.abs() >= 10.0 || ms == 0.0 => format!("{ms:.0}{NBSP}ms"),
        _ => format!("{}{NBSP}ms", trim(format!("{ms:.1}"))),
    };
    text.replace('-', "−")
}

/// Microseconds, from 1 ms on in milliseconds.
pub(crate) fn us(us: f64) -> String {
    match us {
        _ if !us.is_finite() => "–".into(),
        _ if us >= 1000.0 => format!("{}{NBSP}ms", trim(format!("{:.1}", us / 1000.0))),
        _ if us >= 10.0 || us == 0.0 => format!("{us:.0}{NBSP}µs"),
        _ => format!("{}{NBSP}µs", trim(format!("{us:.1}"))),
    }
}

/// Formats a count in full, in groups of three digits.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(NARROW);
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a count for an axis: `500`, `2 k`, `1.5 M`.
pub(crate) fn short(n: f64) -> String {
    match n {
        _ if n >= 1e6 => format!("{}{NBSP}M", trim(format!("{:.1}", n / 1e6))),
        _ if n >= 1e3 => format!("{}{NBSP}k", trim(format!("{:.1}", n / 1e3))),
        _ => trim(format!("{n:.2}")),
    }
}

/// Formats a ratio with three digits: `1.02`, `3.00`, `12.5`.
pub(crate) fn ratio(r: f64) -> String {
    match r {
        _ if !r.is_finite() => "–".into(),
        _ if r >= 100.0 => format!("{r:.0}"),
        _ if r >= 10.0 => format!("{r:.1}"),
        _ => format!("{r:.2}"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// `1 call`, `2 calls`.
pub(crate) fn plural(n: u64, noun: &str) -> String {
    format!("{}{NBSP}{noun}{}", count(n), if n == 1 { "" } else { "s" })
}

fn trim(number: String) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace([NBSP, NARROW], " ")
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        let percents = [0.0, 0.000_01, 0.000_5, 0.012, 0.02, 0.256, 0.997, 0.999_9, 1.0];
        let wanted = ["0 %", "<0.01 %", "0.05 %", "1.2 %", "2 %", "26 %", "99.7 %", ">99.9 %", "100 %"];
        assert_eq!(percents.map(|p| plain(percent(p))), wanted);
        let marks = [0.0, 0.000_5, 0.001, 0.001_5, 0.5, 1.0];
        let wanted = ["0 %", "0.05 %", "0.1 %", "0.15 %", "50 %", "100 %"];
        assert_eq!(marks.map(|p| plain(percent_mark(p))), wanted);
        assert_eq!([0.84, 104.4, 1234.0].map(|v| plain(ms(v))), ["0.8 ms", "104 ms", "1.23 s"]);
        assert_eq!([5.25, 52.0, 1520.0].map(|v| plain(us(v))), ["5.2 µs", "52 µs", "1.5 ms"]);
        assert_eq!(
            [7, 1000, 20_000, 1_234_567].map(|v| plain(count(v))),
            ["7", "1 000", "20 000", "1 234 567"]
        );
        assert_eq!([500.0, 20_000.0, 1.5e6].map(|v| plain(short(v))), ["500", "20 k", "1.5 M"]);
    }

    #[test]
    fn what_is_no_number_shows_as_a_dash() {
        assert_eq!([percent(f64::NAN), ms(f64::INFINITY), ratio(f64::NAN)], ["–", "–", "–"]);
    }
}
