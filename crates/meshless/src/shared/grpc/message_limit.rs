//! Checks the lengths of a stream's messages as its bytes pass: none may exceed a limit.
//!
//! Every gRPC message has a prefix of five bytes: if it is compressed, and its length (gRPC over
//! HTTP/2, "Length-Prefixed-Message"). So the length is known before the message. It counts as on
//! the wire, compressed or not. Frames may cut messages anywhere.

/// The position in a stream of messages, and their maximum length.
#[derive(Debug)]
pub(crate) struct MessageLimit {
    max: u32,
    /// The bytes of the prefix that have passed.
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    /// How many bytes of the message are still to come.
    rest: usize,
    /// How many bytes of messages have passed.
    #[cfg(feature = "otel")]
    message_bytes: u64,
}

/// The length of a message that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub(crate) len: u32,
    pub(crate) max: u32,
}

impl MessageLimit {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            prefix: [0; PREFIX_LEN],
            prefix_len: 0,
            rest: 0,
            #[cfg(feature = "otel")]
            message_bytes: 0,
        }
    }

    /// Returns how many bytes of messages have passed, without their prefixes.
    #[cfg(feature = "otel")]
    pub(crate) fn message_bytes(&self) -> u64 {
        self.message_bytes
    }

    /// Reads the next bytes of the stream.
    ///
    /// # Errors
    /// If a message that begins in them is too long. Do not call this again after that.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                #[cfg(feature = "otel")]
                {
                    self.message_bytes += passed as u64;
                }
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (PREFIX_LEN - self.prefix_len).min(bytes.len());
            self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&bytes[..taken]);
            self.prefix_len += taken;
            bytes = &bytes[taken..];
            if self.prefix_len == PREFIX_LEN {
                self.prefix_len = 0;
                let [_, len @ ..] = self.prefix;
                let len = u32::from_be_bytes(len);
                if len > self.max {
                    return Err(TooLong { len, max: self.max });
                }
                self.rest = len as usize;
            }
        }
        Ok(())
    }
}

const PREFIX_LEN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32) -> Vec<u8> {
        [&[0][..], &len.to_be_bytes(), &vec![9; len as usize]].concat()
    }

    #[test]
    fn messages_up_to_the_limit_pass_however_frames_cut_them() {
        let stream = [message(0), message(10), message(3), message(10)].concat();
        for len in 1..stream.len() {
            let mut limit = MessageLimit::new(10);
            assert!(stream.chunks(len).all(|frame| limit.pass(frame).is_ok()), "{len}");
        }
    }

    #[test]
    fn a_longer_one_is_found_by_its_prefix() {
        let stream = [message(2), message(11)].concat();
        for len in 1..stream.len() {
            let mut limit = MessageLimit::new(10);
            let found = stream.chunks(len).find_map(|frame| limit.pass(frame).err());
            assert_eq!(found, Some(TooLong { len: 11, max: 10 }), "{len}");
        }
    }
}
