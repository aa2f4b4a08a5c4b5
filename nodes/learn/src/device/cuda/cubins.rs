//! The kernels' machine code for each architecture, made by `just cubins`.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Compute capability and its machine code, compressed.
const CUBINS: [((i32, i32), &[u8]); 6] = [
    ((8, 0), include_bytes!("../../../cuda/built/sm_80.cubin.z")),
    ((8, 6), include_bytes!("../../../cuda/built/sm_86.cubin.z")),
    ((8, 9), include_bytes!("../../../cuda/built/sm_89.cubin.z")),
    ((9, 0), include_bytes!("../../../cuda/built/sm_90.cubin.z")),
    ((10, 0), include_bytes!("../../../cuda/built/sm_100.cubin.z")),
    ((12, 0), include_bytes!("../../../cuda/built/sm_120.cubin.z")),
];
/// For cards that are newer than all of these: the driver compiles it.
const PTX: &[u8] = include_bytes!("../../../cuda/built/sm_80.ptx.z");

/// What runs on a card of a compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Machine code of this architecture, as in `sm_90`.
    Cubin(i32, i32),
    /// Code that the driver compiles when it is loaded.
    Ptx,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cubin(major, minor) => write!(f, "sm_{major}{minor}"),
            Self::Ptx => f.write_str("PTX"),
        }
    }
}

impl Code {
    /// What a card takes: machine code runs on later minor versions of its major one. Nothing for cards before Ampere.
    pub fn of((major, minor): (i32, i32)) -> Option<Self> {
        let fitting = CUBINS
            .iter()
            .map(|(of, _)| *of)
            .filter(|of| of.0 == major && of.1 <= minor);
        match fitting.max() {
            Some((major, minor)) => Some(Self::Cubin(major, minor)),
            None => (major >= 8).then_some(Self::Ptx),
        }
    }

    /// The code, ended by a zero as the driver wants PTX to be.
    pub(super) fn image(self) -> Vec<u8> {
        let packed = match self {
            Self::Cubin(major, minor) => CUBINS
                .iter()
                .find(|(of, _)| *of == (major, minor))
                .map_or(PTX, |(_, code)| *code),
            Self::Ptx => PTX,
        };
        let mut image = Vec::new();
        ZlibDecoder::new(packed)
            .read_to_end(&mut image)
            .expect("BUG: the code in the binary is not whole");
        image.push(0);
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_takes_the_nearest_code_of_its_generation() {
        assert_eq!(Code::of((7, 5)), None);
        assert_eq!(Code::of((8, 0)), Some(Code::Cubin(8, 0)));
        assert_eq!(Code::of((8, 7)), Some(Code::Cubin(8, 6)));
        assert_eq!(Code::of((9, 0)), Some(Code::Cubin(9, 0)));
        assert_eq!(Code::of((10, 3)), Some(Code::Cubin(10, 0)));
        assert_eq!(Code::of((11, 0)), Some(Code::Ptx));
        assert_eq!(Code::of((12, 1)), Some(Code::Cubin(12, 0)));
    }

    #[test]
    fn all_code_unpacks() {
        for (of, _) in CUBINS {
            assert!(Code::Cubin(of.0, of.1).image().starts_with(b"\x7fELF"));
        }
        assert!(String::from_utf8_lossy(&Code::Ptx.image()).contains(".target sm_80"));
    }
}
