//! Scans a response for gRPC messages as it passes: where each begins and ends, and if it is valid.
//!
//! Every message has a prefix of five bytes: a flag that says if it is compressed, and its length
//! (gRPC over HTTP/2, "Length-Prefixed-Message"). [`MessageScanner`] gets the bytes of a response
//! in any pieces. It copies and decodes nothing. It finds what a client's decoder would refuse, so
//! that this counts as the backend's failure.

use crate::client::outcome::MessageFault;

/// Why a response cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStop {
    /// The server's bytes are no gRPC message.
    Fault(MessageFault),
    /// A message is longer than the caller allows. Its length is the one on the wire, compressed or
    /// not.
    TooLong {
        /// The message's length.
        len: u32,
        /// The caller's limit.
        max: u32,
    },
}

/// The position in the messages of one response.
#[derive(Clone, Debug)]
pub struct MessageScanner {
    max: u32,
    is_encoded: bool,
    prefix: [u8; PREFIX_LEN],
    prefix_len: u8,
    /// Bytes of the current message that have not come yet.
    rest: u32,
    /// True if a whole message has passed.
    any: bool,
    /// Empty messages after the first message, until they are taken.
    empty: u32,
}

impl MessageScanner {
    /// Creates a scanner for one response. `is_encoded`: the response names an encoding other than
    /// `identity`. `max`: the caller's limit on message bytes; `None`: the longest that a message
    /// can be.
    pub fn new(is_encoded: bool, max: Option<u32>) -> Self {
        let max = max.unwrap_or(u32::MAX);
        Self { max, is_encoded, prefix: [0; PREFIX_LEN], prefix_len: 0, rest: 0, any: false, empty: 0 }
    }

    /// Scans the next bytes.
    ///
    /// # Errors
    /// At a prefix that no message can have. Do not use the scanner after that.
    #[inline]
    pub fn pass(&mut self, bytes: &[u8]) -> Result<(), MessageStop> {
        // Nearly every response is one message in one piece.
        if let Some((&[flag, l3, l2, l1, l0], message)) = bytes.split_first_chunk()
            && self.is_between_messages()
            && u32::from_be_bytes([l3, l2, l1, l0]) as usize == message.len()
        {
            self.passed(message.len() as u32);
            return self.check(flag, message.len() as u32);
        }
        self.pass_in_pieces(bytes)
    }

    /// Returns true if no message has begun: the response may end here.
    #[inline]
    pub fn is_between_messages(&self) -> bool {
        self.rest == 0 && self.prefix_len == 0
    }

    /// Returns true if at least one whole message has passed.
    #[inline]
    pub fn has_passed_any(&self) -> bool {
        self.any
    }

    /// Returns how many empty messages have passed since the last call, except the first message of
    /// all. One empty message is an answer; many are work for nothing.
    #[inline]
    pub fn take_empty(&mut self) -> u32 {
        std::mem::take(&mut self.empty)
    }

    #[inline]
    fn passed(&mut self, len: u32) {
        if len == 0 && self.any {
            self.empty = self.empty.saturating_add(1);
        }
        self.any = true;
    }

    fn pass_in_pieces(&mut self, mut bytes: &[u8]) -> Result<(), MessageStop> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = (self.rest as usize).min(bytes.len());
                // At most `rest`, a u32.
                self.rest -= passed as u32;
                self.any |= self.rest == 0;
                bytes = &bytes[passed..];
                continue;
            }
            let filled = usize::from(self.prefix_len);
            let taken = (PREFIX_LEN - filled).min(bytes.len());
            self.prefix[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            self.prefix_len += taken as u8;
            bytes = &bytes[taken..];
            if usize::from(self.prefix_len) == PREFIX_LEN {
                let [flag, l3, l2, l1, l0] = self.prefix;
                self.prefix_len = 0;
                self.rest = u32::from_be_bytes([l3, l2, l1, l0]);
                if self.rest == 0 {
                    self.passed(0);
                }
                self.check(flag, self.rest)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn check(&self, flag: u8, len: u32) -> Result<(), MessageStop> {
        if flag == 0 && len <= self.max.min(LEN_MAX) {
            return Ok(());
        }
        match flag {
            0 | 1 if len > LEN_MAX => Err(MessageStop::Fault(MessageFault::Length(len))),
            1 if !self.is_encoded => Err(MessageStop::Fault(MessageFault::NoEncoding)),
            0 | 1 if len > self.max => Err(MessageStop::TooLong { len, max: self.max }),
            0 | 1 => Ok(()),
            flag => Err(MessageStop::Fault(MessageFault::Flag(flag))),
        }
    }
}

const PREFIX_LEN: usize = 5;

/// "Any protobuf in serialized form must be <2GiB" (protobuf.dev, "Proto Limits").
const LEN_MAX: u32 = i32::MAX as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flag: u8, len: u32) -> Vec<u8> {
        [&[flag][..], &len.to_be_bytes(), &vec![9; len as usize]].concat()
    }

    /// Scans `bytes` in pieces of each length. The result is the same for all of them.
    fn passed(scanner: &MessageScanner, bytes: &[u8]) -> Result<(bool, bool), MessageStop> {
        let pass = |piece| {
            let mut scanner = scanner.clone();
            bytes
                .chunks(piece)
                .try_for_each(|bytes| scanner.pass(bytes))
                .map(|()| (scanner.is_between_messages(), scanner.has_passed_any()))
        };
        let whole = pass(bytes.len().max(1));
        for piece in 1..bytes.len() {
            assert_eq!(pass(piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn messages_up_to_the_limit_pass_however_frames_cut_them() {
        let scanner = MessageScanner::new(false, Some(10));
        let stream = [message(0, 0), message(0, 10), message(0, 3)].concat();
        assert_eq!(passed(&scanner, &stream), Ok((true, true)));
        assert_eq!(passed(&scanner, &message(0, 10)), Ok((true, true)));
        assert_eq!(passed(&scanner, &message(0, 0)), Ok((true, true)), "an empty message is one");
        assert_eq!(passed(&scanner, &[]), Ok((true, false)));
        for longer in [message(0, 11), [message(0, 2), message(0, 11)].concat()] {
            assert_eq!(passed(&scanner, &longer), Err(MessageStop::TooLong { len: 11, max: 10 }));
        }
    }

    #[test]
    fn empty_messages_behind_the_first_are_counted() {
        let mut scanner = MessageScanner::new(false, None);
        for bytes in [message(0, 0), message(0, 3), message(0, 0), message(0, 0).repeat(7)] {
            scanner.pass(&bytes).unwrap();
        }
        assert_eq!([scanner.take_empty(), scanner.take_empty()], [8, 0]);
    }

    #[test]
    fn a_response_that_ends_within_a_message_is_noticed() {
        let scanner = MessageScanner::new(false, None);
        let whole = [message(0, 3), message(0, 4)].concat();
        for cut in 1..whole.len() {
            let between = cut == 8;
            assert_eq!(passed(&scanner, &whole[..cut]), Ok((between, cut >= 8)), "{cut}");
        }
    }

    #[test]
    fn what_cannot_be_a_message_is_the_server_s_fault() {
        let plain = MessageScanner::new(false, None);
        let fault = |bytes: &[u8]| match passed(&plain, bytes) {
            Err(MessageStop::Fault(fault)) => fault,
            other => panic!("{bytes:?}: {other:?}"),
        };
        assert_eq!(fault(b"<html><body>"), MessageFault::Flag(b'<'));
        assert_eq!(fault(&message(2, 0)), MessageFault::Flag(2));
        assert_eq!(fault(&message(1, 4)), MessageFault::NoEncoding);
        assert_eq!(fault(&[0, 0x80, 0, 0, 0]), MessageFault::Length(1 << 31));
        assert_eq!(fault(&[0, 0xff, 0xff, 0xff, 0xff, 1]), MessageFault::Length(u32::MAX));
        let gzip = MessageScanner::new(true, None);
        assert_eq!(passed(&gzip, &message(1, 4)), Ok((true, true)));
        let limited = MessageScanner::new(false, Some(10));
        let length = MessageStop::Fault(MessageFault::Length(u32::MAX));
        assert_eq!(passed(&limited, &[0, 0xff, 0xff, 0xff, 0xff]), Err(length), "however low the limit");
    }
}
