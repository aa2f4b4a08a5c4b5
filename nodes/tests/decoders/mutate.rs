//! Changes to files that decoders meet: torn ones, flipped ones, and ones that are well-formed but say what nobody meant.

/// Small numbers, the same ones each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        }))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

/// What takes the place of a number in JSON.
const VALUES: [&str; 12] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "4294967295",
    "18446744073709551615",
    "1e30",
    "-1e308",
    "null",
    "[]",
    "\"x\"",
];

/// The bytes with one change, and that in words.
pub(crate) fn mutated(bytes: &[u8], dice: &mut Dice) -> (Vec<u8>, String) {
    let mut changed = bytes.to_vec();
    let at = dice.roll(bytes.len());
    // What is at the beginning means more than what follows.
    let early = dice.roll(bytes.len().min(64));
    let how = match dice.roll(10) {
        0 => {
            changed.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            changed.extend(vec![dice.roll(256) as u8; 1 + dice.roll(64)]);
            "made longer".to_owned()
        }
        2 if !bytes.is_empty() => {
            changed[at] ^= 1 << dice.roll(8);
            format!("a bit of byte {at} flipped")
        }
        3 | 4 if !bytes.is_empty() => {
            changed[early] = [0, 1, 0x7f, 0x80, 0xff, dice.roll(256) as u8][dice.roll(6)];
            format!("byte {early} set to {}", changed[early])
        }
        5 if bytes.len() >= 4 => {
            let at = dice.roll(bytes.len() - 3);
            // NaN, infinity and others in place of a float.
            let value: f32 = [f32::NAN, f32::INFINITY, -1.0, 1e30, -0.0][dice.roll(5)];
            let at = at - at % 4;
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            format!("{value} at {at}")
        }
        _ => match numbers(bytes) {
            found if found.is_empty() => {
                changed.clear();
                "emptied".to_owned()
            }
            found => {
                let (from, to) = found[dice.roll(found.len())];
                let value = VALUES[dice.roll(VALUES.len())];
                changed.splice(from..to, value.bytes());
                resize_header(&mut changed, bytes, value.len() as i64 - (to - from) as i64);
                format!("{} at {from} became {value}", String::from_utf8_lossy(&bytes[from..to]))
            }
        },
    };
    (changed, how)
}

/// Where numbers are in the text at the beginning of a file.
fn numbers(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = None;
    for (at, byte) in bytes
        .iter()
        .take(1 << 14)
        .enumerate()
        .skip(if is_tensors(bytes) { 8 } else { 0 })
    {
        match (byte.is_ascii_digit(), from) {
            (true, None) => from = Some(at),
            (false, Some(begin)) => {
                found.push((begin, at));
                from = None;
            }
            _ => {}
        }
    }
    found
}

/// Whether a file begins with the length of a JSON text, as safetensors do.
fn is_tensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// The header of tensors is as long as it says, so that what is in it is read.
fn resize_header(changed: &mut [u8], before: &[u8], by: i64) {
    if let (true, Some(length)) = (is_tensors(before), before.first_chunk::<8>()) {
        let length = (i64::from_le_bytes(*length)).saturating_add(by);
        changed[..8].copy_from_slice(&length.to_le_bytes());
    }
}
