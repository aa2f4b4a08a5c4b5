//! Outputs that are too large for memory: they are written in the store's directory while the node runs, so a kill can leave more of them.

use std::sync::OnceLock;
use std::time::Duration;

use crate::Tried;
use crate::site::{Dice, Digests, Finding, Site};

const WORKFLOW: &str = r#"
[workflow]
name = "large"
[nodes.here]
kind = "dataset"
source = "idx"
path = "images"
validation = 4
[nodes.worker]
kind = "dataset"
source = "idx"
path = "images"
validation = 8
isolate = true
"#;

/// A side of an image; all training images together are larger than what is kept in memory.
const SIDE: u32 = 1024;
const IMAGES: [u32; 2] = [70, 2];

/// A directory with the workflow and images for it.
fn filled() -> Result<Site, Finding> {
    let site = Site::of(WORKFLOW);
    let write = || -> std::io::Result<()> {
        let folder = site.path("images");
        std::fs::create_dir(&folder)?;
        for (part, n) in ["train", "t10k"].into_iter().zip(IMAGES) {
            let header: Vec<u8> = [0x803, n, SIDE, SIDE].into_iter().flat_map(u32::to_be_bytes).collect();
            // Each image has a gray of its own.
            let pixels = (0..n).flat_map(|i| std::iter::repeat_n((3 * i) as u8, (SIDE * SIDE) as usize));
            std::fs::write(
                folder.join(format!("{part}-images-idx3-ubyte")),
                header.into_iter().chain(pixels).collect::<Vec<u8>>(),
            )?;
            let header: Vec<u8> = [0x801, n].into_iter().flat_map(u32::to_be_bytes).collect();
            let labels = (0..n).map(|i| (i % 2) as u8);
            std::fs::write(
                folder.join(format!("{part}-labels-idx1-ubyte")),
                header.into_iter().chain(labels).collect::<Vec<u8>>(),
            )?;
        }
        Ok(())
    };
    write().map_err(|error| error.to_string())?;
    Ok(site)
}

const RUN: [&str; 4] = ["run", "w.toml", "-j", "2"];

/// What the records of a run to which nothing happened have, and how long it took.
fn undisturbed() -> &'static (Digests, Duration) {
    static ALL: OnceLock<(Digests, Duration)> = OnceLock::new();
    ALL.get_or_init(|| {
        let site = filled().expect("images");
        let began = std::time::Instant::now();
        site.ok(&RUN).expect("nothing disturbs it");
        (site.digests().expect("sound"), began.elapsed())
    })
}

/// Kills a run that writes large outputs, one of them in a worker; the next ends with the same digests, and nothing waits in the store's
/// directory.
pub(crate) fn kill(dice: &mut Dice) -> Tried {
    let (expected, usual) = undisturbed();
    let site = filled()?;
    let struck = site.start(&RUN).kill(dice, *usual / 2);
    site.no_orphans()?;
    site.ok(&RUN)?;
    site.no_orphans()?;
    site.tidy(&[])?;
    let found = site.digests()?;
    if found != *expected {
        return Err(format!("the records have {found:?} instead of {expected:?}"));
    }
    site.ok(&["cache", "verify"])?;
    Ok(struck)
}
