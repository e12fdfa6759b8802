//! Reads header blocks field by field, and writes them without the dynamic table (RFC 7541).
//!
//! Strings stay as they are on the wire, Huffman coded or not. If a block cannot be read, the
//! caller leaves the error to the HTTP/2 library.

mod huffman;

use std::collections::VecDeque;

use bytes::Bytes;

/// A block that is not HPACK, refers to a missing entry of the table, or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A field of a header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Name and value are this entry of the static table.
    Static(usize),
    Literal(Name, Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The name of this entry of the static table.
    Static(usize),
    Literal(Text),
}

/// A string as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    is_huffman: bool,
    bytes: Bytes,
    decoded_len: usize,
}

impl Text {
    pub(super) fn is_empty(&self) -> bool {
        self.decoded_len == 0
    }

    /// Returns the decoded string.
    pub(super) fn decoded(&self) -> Vec<u8> {
        if self.is_huffman { huffman::decode(&self.bytes).unwrap_or_default() } else { self.bytes.to_vec() }
    }
}

impl Name {
    /// Returns true for the entry `index` of the static table, whose name is `name`, however it is
    /// encoded.
    pub(super) fn is(&self, index: usize, name: &str) -> bool {
        match self {
            Self::Static(entry) => *entry == index,
            Self::Literal(text) => text.decoded_len == name.len() && text.decoded() == name.as_bytes(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Static(index) => usize::from(STATIC_NAME_LENGTHS[index - 1]),
            Self::Literal(text) => text.decoded_len,
        }
    }
}

/// Reads the blocks of one peer, and keeps its dynamic table.
#[derive(Debug)]
pub(super) struct Reader {
    /// The newest first.
    table: VecDeque<(Name, Text)>,
    table_size: usize,
    table_size_max: usize,
    /// The longest list, as HTTP/2 counts it.
    list_size_max: usize,
}

impl Reader {
    pub(super) fn new(list_size_max: usize) -> Self {
        Self { table: VecDeque::new(), table_size: 0, table_size_max: TABLE_SIZE, list_size_max }
    }

    /// Returns the fields of a complete block.
    ///
    /// # Errors
    /// If it cannot be read, or its list is too long. No later block can be read after that.
    pub(super) fn read(&mut self, block: Bytes) -> Result<Vec<Field>, Unreadable> {
        let mut rest = Cursor(block);
        let (mut fields, mut list_size) = (Vec::new(), 0);
        while let Some(first) = rest.first() {
            let field = match first {
                0x80.. => self.entry(rest.integer(7)?)?,
                0x40.. => {
                    let (name, value) = self.literal(&mut rest, 6)?;
                    self.insert(name.clone(), value.clone());
                    Field::Literal(name, value)
                }
                0x20.. => {
                    let size = rest.integer(5)?;
                    if size > TABLE_SIZE {
                        return Err(Unreadable);
                    }
                    self.table_size_max = size;
                    self.evict();
                    continue;
                }
                _ => {
                    let (name, value) = self.literal(&mut rest, 4)?;
                    Field::Literal(name, value)
                }
            };
            list_size += match &field {
                Field::Static(_) => FIELD_OVERHEAD,
                Field::Literal(name, value) => name.len() + value.decoded_len + FIELD_OVERHEAD,
            };
            if list_size > self.list_size_max {
                return Err(Unreadable);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, rest: &mut Cursor, prefix: u8) -> Result<(Name, Text), Unreadable> {
        let name = match rest.integer(prefix)? {
            0 => Name::Literal(rest.text()?),
            index => match self.entry(index)? {
                Field::Static(index) => Name::Static(index),
                Field::Literal(name, _) => name,
            },
        };
        Ok((name, rest.text()?))
    }

    fn entry(&self, index: usize) -> Result<Field, Unreadable> {
        match index {
            0 => Err(Unreadable),
            1..=STATIC_ENTRIES => Ok(Field::Static(index)),
            _ => {
                let (name, value) = self.table.get(index - STATIC_ENTRIES - 1).ok_or(Unreadable)?;
                Ok(Field::Literal(name.clone(), value.clone()))
            }
        }
    }

    fn insert(&mut self, name: Name, value: Text) {
        self.table_size += entry_size(&name, &value);
        self.table.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.table_size > self.table_size_max {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.table_size -= entry_size(&name, &value);
        }
    }
}

/// Writes a field so that it enters no table.
pub(super) fn write(field: &Field, block: &mut Vec<u8>) {
    match field {
        Field::Static(index) => write_integer(block, 0x80, 7, *index),
        Field::Literal(name, value) => {
            match name {
                Name::Static(index) => write_integer(block, 0, 4, *index),
                Name::Literal(text) => {
                    block.push(0);
                    write_text(block, text);
                }
            }
            write_text(block, value);
        }
    }
}

fn write_text(block: &mut Vec<u8>, text: &Text) {
    write_integer(block, if text.is_huffman { 0x80 } else { 0 }, 7, text.bytes.len());
    block.extend_from_slice(&text.bytes);
}

/// RFC 7541 §5.1.
fn write_integer(block: &mut Vec<u8>, pattern: u8, prefix: u8, value: usize) {
    let full = (1usize << prefix) - 1;
    if value < full {
        return block.push(pattern | value as u8);
    }
    block.push(pattern | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

fn entry_size(name: &Name, value: &Text) -> usize {
    name.len() + value.decoded_len + FIELD_OVERHEAD
}

/// The rest of a block.
struct Cursor(Bytes);

impl Cursor {
    fn first(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        let byte = self.first().ok_or(Unreadable)?;
        let _ = self.0.split_to(1);
        Ok(byte)
    }

    fn integer(&mut self, prefix: u8) -> Result<usize, Unreadable> {
        let full = (1usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & full;
        if value < full {
            return Ok(value);
        }
        // Three more bytes reach two million, more than any length or index here.
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn text(&mut self) -> Result<Text, Unreadable> {
        let is_huffman = self.first().ok_or(Unreadable)? >= 0x80;
        let len = self.integer(7)?;
        if len > self.0.len() {
            return Err(Unreadable);
        }
        let bytes = self.0.split_to(len);
        let decoded_len =
            if is_huffman { huffman::decode(&bytes).ok_or(Unreadable)?.len() } else { bytes.len() };
        Ok(Text { is_huffman, bytes, decoded_len })
    }
}

/// What a field adds to the size of a list or of the table, besides its name and value (RFC 7541
/// §4.1).
const FIELD_OVERHEAD: usize = 32;

/// SETTINGS_HEADER_TABLE_SIZE, which the server leaves at its initial value (RFC 9113 §6.5.2).
const TABLE_SIZE: usize = 4096;

const STATIC_ENTRIES: usize = 61;

/// The lengths of the names in the static table (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC_NAME_LENGTHS: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12,
    6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Text {
        Text { is_huffman: false, bytes: Bytes::copy_from_slice(text.as_bytes()), decoded_len: text.len() }
    }

    /// RFC 7541, appendix C.3 and C.4: three requests on one connection, without Huffman coding and
    /// with it.
    #[test]
    fn the_requests_of_the_rfc_are_read_with_their_table() {
        let plain: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x0fwww.example.com",
            b"\x82\x86\x84\xbe\x58\x08no-cache",
            b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
        ];
        let huffman: [&[u8]; 3] = [
            &[
                0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90,
                0xf4, 0xff,
            ],
            &[0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf],
            &[
                0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89,
                0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
            ],
        ];
        for blocks in [plain, huffman] {
            let mut reader = Reader::new(1 << 14);
            for (block, table_size) in blocks.into_iter().zip([57, 110, 164]) {
                let fields = reader.read(Bytes::from_static(block)).unwrap();
                assert_eq!(reader.table_size, table_size);
                let Some(Field::Literal(name, value)) = fields.get(3) else { panic!("{fields:?}") };
                assert!(name.is(1, ":authority"));
                assert_eq!(value.decoded(), b"www.example.com");
            }
            let key = &reader.table[0];
            assert_eq!((key.0.len(), key.1.decoded()), (10, b"custom-value".to_vec()));
        }
    }

    #[test]
    fn what_is_written_reads_the_same_without_a_table() {
        let long = "x".repeat(1000);
        let fields = [
            Field::Static(2),
            Field::Literal(Name::Static(1), plain("a")),
            Field::Literal(Name::Static(58), plain(&long)),
            Field::Literal(Name::Literal(plain("x-tag")), plain("")),
        ];
        let mut block = Vec::new();
        fields.iter().for_each(|field| write(field, &mut block));
        let mut reader = Reader::new(1 << 14);
        assert_eq!(reader.read(block.into()).unwrap(), fields);
        assert!(reader.table.is_empty());
    }

    #[test]
    fn the_table_forgets_the_oldest_and_follows_its_size() {
        let mut reader = Reader::new(1 << 14);
        let entry = |byte: u8| [&[0x41, 100][..], &[byte; 100]].concat();
        // Each takes 142 bytes of 4096.
        (0..40).for_each(|n| drop(reader.read(entry(b'a' + n % 26).into()).unwrap()));
        assert_eq!(reader.table.len(), 28);
        assert_eq!(reader.read(Bytes::from_static(&[0x80 | (62 + 28)])), Err(Unreadable));
        // Down to nothing, and up again.
        reader.read(Bytes::from_static(&[0x20, 0x3f, 0xe1, 0x1f])).unwrap();
        assert_eq!((reader.table.len(), reader.table_size), (0, 0));
        assert_eq!(reader.read(Bytes::from_static(&[0x3f, 0xe2, 0x1f])), Err(Unreadable));
    }

    #[test]
    fn a_short_block_for_a_long_list_is_refused() {
        let mut bomb = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
        bomb.extend([0xbe; 1000]);
        assert_eq!(Reader::new(1 << 14).read(bomb.into()), Err(Unreadable));
    }

    #[test]
    fn no_bytes_panic() {
        for seed in 0..20_000u64 {
            let mut rng = meshless_core::Rng::new(seed, 0);
            let len = rng.next_u64() % 40;
            let block: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let _ = Reader::new(1000).read(block.into());
        }
    }
}
