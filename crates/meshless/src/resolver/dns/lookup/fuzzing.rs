//! Two messages of a name server, for A and AAAA, put through what a lookup makes of them. Called by `fuzzing` alone.

use hickory_resolver::proto::op::DnsResponse;

use super::*;

/// Half of `data` is the answer for A, half that for AAAA; the first byte says what was known before.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((before, bytes)) = data.split_first() else { return };
    let (a, aaaa) = bytes.split_at(bytes.len() / 2);
    for (a, aaaa) in [(a, aaaa), (bytes, bytes)] {
        let answers = [(answer(a), before & 1 != 0), (answer(aaaa), before & 2 != 0)];
        if let Ok((found, known)) = combine(answers, |ip| ip.is_ipv4() || before & 4 != 0) {
            assert!(!found.addresses.is_empty(), "an answer has addresses");
            assert!(known.ipv4 || known.ipv6);
        }
    }
}

fn answer(bytes: &[u8]) -> Option<Result<Lookup, NetError>> {
    let response = DnsResponse::from_buffer(bytes.to_vec()).ok()?;
    Some(match DnsError::from_response(response) {
        Err(error) => Err(error.into()),
        Ok(response) => {
            let query = response.queries.first().cloned().unwrap_or_default();
            Ok(Lookup::new_with_max_ttl(query, response.answers.iter().cloned()))
        }
    })
}
