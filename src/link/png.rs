//! Black and white pictures as PNG (<https://www.w3.org/TR/png-3/>), one bit per pixel and uncompressed: a QR code takes
//! some kilobytes, which is less than a compressor would cost.

/// What every PNG file begins with.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

/// The longest stored block of the deflate format (RFC 1951 section 3.2.4).
const STORED: usize = 0xffff;

/// A square picture of `side` pixels; `white` tells the colour of the pixel in a column and a row.
pub(super) fn square(side: u32, white: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..side {
        // Each row begins with its filter: none.
        pixels.push(0);
        for first in (0..side).step_by(8) {
            let bit = |n: u32| u8::from(first + n < side && white(first + n, y)) << (7 - n);
            pixels.push((0..8).map(bit).fold(0, |byte, bit| byte | bit));
        }
    }
    let mut header = Vec::new();
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    // One bit per pixel, greyscale, deflate, the five standard filters, not interlaced.
    header.extend([1, 0, 0, 0, 0]);
    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &zlib(&pixels));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("a QR code is a picture of some hundred kilobytes at most");
    file.extend(length.to_be_bytes());
    let checked = file.len();
    file.extend(name);
    file.extend(data);
    let sum = crc32(&file[checked..]);
    file.extend(sum.to_be_bytes());
}

/// A zlib stream (RFC 1950) of stored blocks.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(STORED).count();
    for (at, block) in data.chunks(STORED).enumerate() {
        let length = u16::try_from(block.len()).expect("blocks are cut to fit");
        stream.push(u8::from(at + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

/// The checksum of chunks (PNG, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

/// The checksum of zlib streams (RFC 1950 section 8.2).
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!((crc32(b""), adler32(b"")), (0, 1));
    }

    #[test]
    fn large_pictures_take_several_blocks() {
        let stream = zlib(&vec![7; STORED + 1]);
        assert_eq!((stream[2], stream[2 + 5 + STORED]), (0, 1), "only the last block says that it is");
        assert_eq!(stream.len(), 2 + 5 + STORED + 5 + 1 + 4);
    }
}
