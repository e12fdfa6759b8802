//! The Huffman code of header strings (RFC 7541, appendix B), decoded bit by bit.
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols. So
//! the lengths define it.

/// Decodes a string; `None` if it is not valid.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut len) = (0u32, 0usize);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)) {
        (code, len) = ((code << 1) | u32::from(bit), len + 1);
        if len > LEN_MAX {
            return None;
        }
        if let Some(place) = code.checked_sub(CODE.first[len]).filter(|place| *place < CODE.count[len]) {
            decoded.push(CODE.symbols[CODE.start[len] + place as usize]);
            (code, len) = (0, 0);
        }
    }
    // "Padding [...] corresponding to the most significant bits of the code for the EOS symbol",
    // which are ones, and fewer than eight.
    (len < 8 && code == (1 << len) - 1).then_some(decoded)
}

struct Code {
    /// For each length: the first code, the number of codes, and the index of their symbols.
    first: [u32; LEN_MAX + 1],
    count: [u32; LEN_MAX + 1],
    start: [usize; LEN_MAX + 1],
    symbols: [u8; 256],
}

const CODE: Code = {
    let mut code =
        Code { first: [0; LEN_MAX + 1], count: [0; LEN_MAX + 1], start: [0; LEN_MAX + 1], symbols: [0; 256] };
    let (mut len, mut next, mut place) = (1, 0, 0);
    while len <= LEN_MAX {
        next <<= 1;
        code.first[len] = next;
        code.start[len] = place;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == len {
                code.symbols[place] = symbol as u8;
                code.count[len] += 1;
                next += 1;
                place += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    code
};

const LEN_MAX: usize = 30;

/// By symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc_decode() {
        for (code, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[], ""),
        ] {
            assert_eq!(decode(code).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn every_code_has_one_symbol() {
        let mut symbols = CODE.symbols;
        symbols.sort_unstable();
        assert!(symbols.iter().enumerate().all(|(place, symbol)| place == usize::from(*symbol)));
        // All but EOS and the codes that begin like it: 2^30 - 1 is the last.
        assert_eq!(CODE.first[LEN_MAX] + CODE.count[LEN_MAX], (1 << LEN_MAX) - 1);
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for code in [&[0xff; 4][..], &[0xff], &[0x1f, 0xff], &[0x00]] {
            assert_eq!(decode(code), None, "{code:x?}");
        }
    }
}
