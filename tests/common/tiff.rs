//! TIFF files with bands.
#![allow(unreachable_pub, reason = "taken in by the tests of two crates")]

/// A TIFF file of 4x4 pixels with so many bands of a depth and a format, 1 for whole numbers, 3 for floats, of which every byte has a value.
pub fn tiff(bands: u16, bits: u16, format: u16, value: u8) -> Vec<u8> {
    let n = u32::from(bands);
    let (depths, formats) = (8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 2 * n);
    let pixels = formats + 2 * n;
    let length = 16 * n * u32::from(bits) / 8;
    let entries: [(u16, u16, u32, u32); 10] = [
        (256, 4, 1, 4),
        (257, 4, 1, 4),
        (258, 3, n, depths),
        (259, 4, 1, 1),
        (262, 4, 1, 1),
        (273, 4, 1, pixels),
        (277, 4, 1, n),
        (278, 4, 1, 4),
        (279, 4, 1, length),
        (339, 3, n, formats),
    ];
    let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()));
        bytes.extend(count.to_le_bytes().into_iter().chain(value.to_le_bytes()));
    }
    bytes.extend([0; 4]);
    bytes.extend(bits.to_le_bytes().repeat(usize::from(bands)));
    bytes.extend(format.to_le_bytes().repeat(usize::from(bands)));
    bytes.resize((pixels + length) as usize, value);
    bytes
}
