//! Directories of TIFF and BigTIFF files (IFDs): types, counts and values of fields, bounded by the file. EXIF blocks
//! have the same form. The meaning of tags is elsewhere.

use super::Error;
use super::codec::cursor::Cursor;

/// Fields of a directory; classic TIFF counts them in 16 bits.
const FIELDS_MAX: u64 = 65_535;

/// Most fractions that are read of one field.
const FRACTIONS_MAX: usize = 6;

/// An error about a TIFF structure.
pub fn corrupt(reason: &str) -> Error {
    Error::corrupt("tiff", reason)
}

/// Byte order and offset width of a file.
pub struct TiffFile<'a> {
    pub bytes: &'a [u8],
    pub big_endian: bool,
    big_tiff: bool,
    /// Offset of the first directory.
    pub first: u64,
}

impl<'a> TiffFile<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<TiffFile<'a>, Error> {
        let big_endian = bytes.starts_with(b"MM");
        let mut file = TiffFile { bytes, big_endian, big_tiff: false, first: 0 };
        let mut at = Cursor::new("tiff", bytes);
        at.skip(2)?;
        file.big_tiff = file.u16(&mut at)? == 43;
        if file.big_tiff && (file.u16(&mut at)? != 8 || file.u16(&mut at)? != 0) {
            return Err(corrupt("invalid offset size"));
        }
        file.first = file.offset(&mut at)?;
        Ok(file)
    }

    fn u16(&self, at: &mut Cursor) -> Result<u16, Error> {
        if self.big_endian { at.u16_be() } else { at.u16_le() }
    }

    fn u32(&self, at: &mut Cursor) -> Result<u32, Error> {
        if self.big_endian { at.u32_be() } else { at.u32_le() }
    }

    fn u64(&self, at: &mut Cursor) -> Result<u64, Error> {
        let (first, second) = (u64::from(self.u32(at)?), u64::from(self.u32(at)?));
        Ok(if self.big_endian { first << 32 | second } else { second << 32 | first })
    }

    /// Reads a count or an offset.
    fn offset(&self, at: &mut Cursor) -> Result<u64, Error> {
        if self.big_tiff { self.u64(at) } else { self.u32(at).map(u64::from) }
    }

    /// Reads the directory at `offset`, and the offset of the next one, 0 after the last.
    pub fn directory(&self, offset: u64) -> Result<(Directory<'a>, u64), Error> {
        let (directory, mut at) = self.fields(offset)?;
        Ok((directory, self.offset(&mut at)?))
    }

    /// Reads the directory at `offset`; the cursor is at the bytes after its fields.
    pub fn fields(&self, offset: u64) -> Result<(Directory<'a>, Cursor<'a>), Error> {
        let mut at = Cursor::new("tiff", self.bytes);
        at.seek(usize::try_from(offset).map_err(|_| corrupt("directory outside the file"))?)?;
        let count = if self.big_tiff { self.u64(&mut at)? } else { u64::from(self.u16(&mut at)?) };
        let entry_bytes = if self.big_tiff { 20 } else { 12 };
        if count > FIELDS_MAX {
            return Err(corrupt("too many fields in a directory"));
        }
        let entries = at.take(count as usize * entry_bytes)?;
        Ok((Directory { file: self.view(), entries, entry_bytes }, at))
    }

    /// A copy of the file that begins with another directory.
    pub fn with_first(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let mut file = self.bytes.to_vec();
        let at = if self.big_tiff { 8..16 } else { 4..8 };
        let place = file.get_mut(at).ok_or_else(|| corrupt("truncated file"))?;
        let width = place.len();
        if self.big_endian {
            place.copy_from_slice(&offset.to_be_bytes()[8 - width..]);
        } else {
            place.copy_from_slice(&offset.to_le_bytes()[..width]);
        }
        Ok(file)
    }

    fn view(&self) -> TiffFile<'a> {
        TiffFile { ..*self }
    }
}

/// Type, count and value bytes of a field.
pub type RawField<'a> = (u16, u64, &'a [u8]);

/// Fields of one directory.
pub struct Directory<'a> {
    pub file: TiffFile<'a>,
    entries: &'a [u8],
    entry_bytes: usize,
}

impl<'a> Directory<'a> {
    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len() / self.entry_bytes
    }

    /// The field with this tag; its values are inside the file.
    pub fn field(&self, tag: u16) -> Result<Option<RawField<'a>>, Error> {
        self.iter().find(|(other, _)| *other == tag).map(|(_, field)| field).transpose()
    }

    /// Every tag and its field, in file order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Result<RawField<'a>, Error>)> {
        self.entries.chunks_exact(self.entry_bytes).filter_map(|entry| {
            let mut at = Cursor::new("tiff", entry);
            Some((self.file.u16(&mut at).ok()?, self.value(at)))
        })
    }

    fn value(&self, mut at: Cursor<'a>) -> Result<RawField<'a>, Error> {
        let (kind, count) = (self.file.u16(&mut at)?, self.file.offset(&mut at)?);
        let width = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => return Err(corrupt("invalid field type")),
        };
        let length = count.checked_mul(width).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(|| corrupt("field outside the file"))?;
        if length > at.rest().len() {
            let place = usize::try_from(self.file.offset(&mut at)?).map_err(|_| corrupt("field outside the file"))?;
            at = Cursor::new("tiff", self.file.bytes);
            at.seek(place)?;
        }
        Ok((kind, count, at.take(length)?))
    }

    /// Unsigned numbers of a field; empty if the field is absent.
    pub fn numbers(&self, tag: u16) -> Result<Numbers<'a>, Error> {
        let (width, bytes) = match self.field(tag)? {
            None => (1, [].as_slice()),
            Some((1 | 7, _, bytes)) => (1, bytes),
            Some((3, _, bytes)) => (2, bytes),
            Some((4 | 13, _, bytes)) => (4, bytes),
            Some((16 | 18, _, bytes)) => (8, bytes),
            Some(_) => return Err(corrupt("field is not a number")),
        };
        Ok(Numbers { width, bytes, big_endian: self.file.big_endian })
    }

    /// Fractions of a field; empty if the field is absent. The denominator zero makes one that is not finite.
    pub fn fractions(&self, tag: u16) -> Result<Vec<f32>, Error> {
        let Some((5, _, bytes)) = self.field(tag)? else { return Ok(Vec::new()) };
        let halves = Numbers { width: 4, bytes, big_endian: self.file.big_endian };
        let halves: Vec<f32> = halves.iter().take(2 * FRACTIONS_MAX).map(|half| half as f32).collect();
        Ok(halves.as_chunks::<2>().0.iter().map(|[numerator, denominator]| numerator / denominator).collect())
    }

    /// First number of a field as 32 bits, or `default` if the field is absent.
    pub fn number(&self, tag: u16, default: u32) -> Result<u32, Error> {
        match self.numbers(tag)?.iter().next() {
            None => Ok(default),
            Some(number) => u32::try_from(number).map_err(|_| corrupt("number out of range")),
        }
    }
}

/// Unsigned numbers of 1, 2, 4 or 8 bytes, read in place, since a field may be as long as the file.
pub struct Numbers<'a> {
    width: usize,
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let join = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        self.bytes.chunks_exact(self.width).map(move |bytes| {
            if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
        })
    }
}
