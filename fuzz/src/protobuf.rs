//! A second reader of protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), to compare the
//! program's with.

/// Groups inside groups that are followed: prost stops at a depth of 100, messages included.
const DEPTH: u32 = 99;

/// A value of a known field.
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// The known fields of a message in the order they came.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(u32, Field<'a>)>);

impl<'a> Fields<'a> {
    /// Reads a message. `known`: number and wire type of each field that counts; the rest is skipped. `None` when it
    /// is no protobuf, or a known field has another type.
    pub fn read(bytes: &'a [u8], known: &[(u32, u8)]) -> Option<Self> {
        Self::read_at(bytes, known, DEPTH)
    }

    fn read_at(bytes: &'a [u8], known: &[(u32, u8)], depth: u32) -> Option<Self> {
        let mut fields = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, kind) = tag(&mut rest)?;
            match known.iter().find(|(known, _)| *known == number) {
                Some((_, expected)) if *expected != kind => return None,
                Some(_) if kind == 0 => fields.0.push((number, Field::Number(varint(&mut rest)?))),
                Some(_) => fields.0.push((number, Field::Bytes(delimited(&mut rest)?))),
                None => skip(&mut rest, number, kind, depth)?,
            }
        }
        Some(fields)
    }

    /// Reads a message inside another one. It may come in several pieces, which count as one.
    pub fn read_inner(pieces: Vec<&'a [u8]>, known: &[(u32, u8)]) -> Option<Self> {
        let mut all = Self::default();
        for piece in pieces {
            all.0.extend(Self::read_at(piece, known, DEPTH - 1)?.0);
        }
        Some(all)
    }

    /// Every value of a field.
    pub fn all(&self, number: u32) -> impl Iterator<Item = &Field<'a>> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, field)| field)
    }

    /// The last value of a number field.
    pub fn number(&self, number: u32) -> Option<u64> {
        self.all(number).filter_map(|f| if let Field::Number(n) = f { Some(*n) } else { None }).last()
    }

    /// The last value of a byte field.
    pub fn bytes(&self, number: u32) -> Option<&'a [u8]> {
        self.all(number).filter_map(|f| if let Field::Bytes(b) = f { Some(*b) } else { None }).last()
    }

    /// The pieces of a message field, if there is one.
    pub fn message(&self, number: u32) -> Option<Vec<&'a [u8]>> {
        let pieces: Vec<_> =
            self.all(number).filter_map(|f| if let Field::Bytes(b) = f { Some(*b) } else { None }).collect();
        (!pieces.is_empty()).then_some(pieces)
    }
}

fn tag(rest: &mut &[u8]) -> Option<(u32, u8)> {
    let key = u32::try_from(varint(rest)?).ok()?;
    let (number, kind) = (key >> 3, (key & 7) as u8);
    (number > 0 && kind <= 5).then_some((number, kind))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for position in 0..10 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        if position == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(taken)
}

/// Skips a field nobody knows. Groups (wire types 3 and 4) nest.
fn skip(rest: &mut &[u8], number: u32, kind: u8, depth: u32) -> Option<()> {
    match kind {
        0 => varint(rest).map(drop),
        1 => take(rest, 8).map(drop),
        2 => delimited(rest).map(drop),
        3 => loop {
            let (inner, kind) = tag(rest)?;
            if kind == 4 {
                return (inner == number).then_some(());
            }
            skip(rest, inner, kind, depth.checked_sub(1)?)?;
        },
        5 => take(rest, 4).map(drop),
        _ => None,
    }
}
