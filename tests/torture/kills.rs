//! SIGKILL at a random moment, and signals that ask to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::Tried;
use crate::site::{Dice, Finding, Site, undisturbed};

/// How long a command usually takes on this machine at this time, learnt from those that were not hit.
struct Usual(AtomicU64);

impl Usual {
    const fn new() -> Self {
        Self(AtomicU64::new(50_000))
    }

    /// Starts a command and kills it; whether it was still there.
    fn kill(&self, site: &Site, arguments: &[impl AsRef<str>], dice: &mut Dice) -> bool {
        let usual = self.0.load(Ordering::Relaxed);
        let started = site.start(arguments);
        let began = started.began;
        let struck = started.kill(dice, Duration::from_micros(usual));
        // Too late: half the way to what this one took at most. Hit: a little longer.
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.store(
            if struck {
                usual + usual / 30
            } else {
                (usual + took.min(usual)) / 2 * 95 / 100 + 500
            },
            Ordering::Relaxed,
        );
        struck
    }
}

pub(crate) fn run(dice: &mut Dice) -> Tried {
    static USUAL: Usual = Usual::new();
    let (site, salts) = (Site::new(), dice.salts(2));
    // Sometimes again and again: each goes on from what the last one left.
    let times = 1 + dice.roll(4) / 3 * dice.roll(3);
    let mut struck = false;
    for _ in 0..=times {
        struck |= USUAL.kill(&site, &Site::run_of(&salts, 1 + dice.roll(3)), dice);
    }
    site.holds(&salts).map(|()| struck)
}

pub(crate) fn worker(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let run = site.start(&Site::run_of(&salts, 2));
    let mut struck = false;
    while !struck && run.began.elapsed() < Duration::from_secs(5) {
        let found = site
            .processes()
            .into_iter()
            .find(|(_, line)| line.contains(" __worker"));
        if let Some((pid, _)) = found {
            std::thread::sleep(Duration::from_micros(dice.roll(20_000)));
            struck = kill_process(pid, Signal::KILL).is_ok();
        }
    }
    let ended = run.end()?.must_be(&[0, 1])?;
    if ended.code == Some(1) && !ended.stderr.contains("worker[salt=") {
        return Err(format!(
            "the node whose worker was killed is not named: {}",
            ended.stderr
        ));
    }
    site.holds(&salts).map(|()| struck)
}

/// A site with some nodes that have run.
fn filled(dice: &mut Dice) -> Result<(Site, Vec<u64>), Finding> {
    let (site, salts) = (Site::new(), dice.salts(3));
    site.run(&salts)?;
    Ok((site, salts))
}

pub(crate) fn gc(dice: &mut Dice) -> Tried {
    static USUAL: Usual = Usual::new();
    const ALL: [&str; 7] = ["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"];
    let (site, salts) = filled(dice)?;
    site.ok(&["cache", "pin", "node ~ first"])?;
    let struck = USUAL.kill(&site, &ALL, dice);
    site.no_orphans()?;
    if dice.roll(2) == 0 {
        site.ok(&ALL)?;
    }
    let ran = site.run(&salts)?;
    if ran > salts.len() * 4 {
        return Err(format!("{ran} nodes ran: what is pinned was collected"));
    }
    site.whole(&salts, &[]).map(|()| struck)
}

pub(crate) fn rebuild(dice: &mut Dice) -> Tried {
    static USUAL: Usual = Usual::new();
    let (site, salts) = filled(dice)?;
    let struck = USUAL.kill(&site, &["cache", "rebuild"], dice);
    // The old index is moved there, whatever it was like.
    site.holds_but(&salts, &["quarantine"]).map(|()| struck)
}

pub(crate) fn verify(dice: &mut Dice) -> Tried {
    static USUAL: Usual = Usual::new();
    let (site, salts) = filled(dice)?;
    let damaged = dice.roll(2) == 0;
    if damaged {
        let blobs = crate::site::files_under(&site.cache().join("blobs"));
        std::fs::write(dice.pick(&blobs), "damaged").map_err(|error| error.to_string())?;
    }
    let struck = USUAL.kill(&site, &["cache", "verify", "--repair"], dice);
    if !damaged {
        return site.holds(&salts).map(|()| struck);
    }
    site.no_orphans()?;
    site.start(&["cache", "verify", "--repair"]).end()?.must_be(&[0, 4])?;
    site.run(&salts)?;
    site.whole(&salts, &["quarantine"]).map(|()| struck)
}

pub(crate) fn import(dice: &mut Dice) -> Tried {
    static USUAL: Usual = Usual::new();
    let site = Site::new();
    let (digests, archive) = undisturbed();
    std::fs::write(site.path("all"), archive).map_err(|error| error.to_string())?;
    let struck = USUAL.kill(&site, &["cache", "import", "all"], dice);
    site.no_orphans()?;
    // Any command sweeps; this one finds that what was taken is sound.
    if site.cache().join("CACHEDIR.TAG").exists() {
        site.ok(&["cache", "verify"])?;
        site.ok(&["cache", "gc", "--max-size", "1GB", "--delete"])?;
        site.tidy(&[])?;
    }
    site.right()?;
    let named: std::collections::BTreeSet<String> = site.digests()?.into_values().collect();
    let blobs = crate::site::files_under(&site.cache().join("blobs"));
    let stray = blobs.iter().find(|blob| {
        !blob
            .file_name()
            .is_some_and(|name| named.contains(&*name.to_string_lossy()))
    });
    if let Some(blob) = stray {
        return Err(format!(
            "a killed import left {}, which no record names, and a collection did not take it",
            blob.display()
        ));
    }
    site.ok(&["cache", "import", "all"])?;
    let salts: Vec<u64> = (0..crate::site::SALTS).collect();
    if site.digests()? != *digests || site.run(&salts)? != 0 {
        return Err("not all entries of the archive are there".to_owned());
    }
    site.whole(&salts, &[]).map(|()| struck)
}

pub(crate) fn signal(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let run = site.start(&Site::run_of(&salts, 2));
    let signals = [
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::TERM, 143),
    ];
    let (signal, code) = *dice.pick(&signals);
    // Not before it listens: until then it ends as any program does.
    let began = Instant::now();
    while !site.path(".flow/runs").exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(dice.roll(60_000)));
    run.signal(signal);
    let ended = run.end()?.must_be(&[0, code])?;
    site.holds(&salts).map(|()| ended.code == Some(code))
}
