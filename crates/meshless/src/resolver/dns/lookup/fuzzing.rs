//! Puts messages of a name server for A and AAAA through a lookup. Called only by `fuzzing`.

use hickory_resolver::proto::op::DnsResponse;

use super::*;

/// The halves of `data` are the answers for A and for AAAA. The first byte decides which of them
/// are late or not asked for.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let (a, aaaa) = bytes.split_at(bytes.len() / 2);
    let name = Name::root();
    let mut families = Families::default();
    for (bit, (a, aaaa)) in [(a, aaaa), (bytes, bytes), (aaaa, a)].into_iter().enumerate() {
        let answers = [answer(a, first >> bit), answer(aaaa, first >> (bit + 3))];
        let has_route = |ip: std::net::IpAddr| ip.is_ipv4() || first & 0x80 != 0;
        if let Ok(found) = families.join(Instant::now(), &name, answers, has_route) {
            assert!(found.addresses.iter().all(|ip| !ip.is_unspecified()));
        }
    }
}

fn answer(bytes: &[u8], late: u8) -> FamilyAnswer {
    if late & 1 != 0 {
        return FamilyAnswer::Pending;
    }
    let Ok(response) = DnsResponse::from_buffer(bytes.to_vec()) else { return FamilyAnswer::NotAsked };
    FamilyAnswer::Answered(match DnsError::from_response(response) {
        Err(error) => Err(error.into()),
        Ok(response) => {
            let query = response.queries.first().cloned().unwrap_or_default();
            Ok(Lookup::new_with_max_ttl(query, response.answers.iter().cloned()))
        }
    })
}
