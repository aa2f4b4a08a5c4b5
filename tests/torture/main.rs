//! A campaign against the real program: kills at random moments, crowds of commands on one cache, full disks, damaged files, foreign
//! archives, limits of the machine. After each try nothing is lost, no digest is another one, no process is left, and the next command
//! leaves no litter.
//!
//! `just torture MINUTES` runs it, prints tries and findings, and fails if there is a finding. `TORTURE_ONLY=kill-run,pair` takes these
//! kinds of tries only, `TORTURE_ROUNDS` bounds the rounds, `TORTURE_SEED` draws other ones. A finding names its try, which `TORTURE_TRY=kill-run:17` repeats
//! (what is drawn is the same; when a process is hit is up to the machine).

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod faults;
mod kills;
mod large;
mod site;

use std::time::{Duration, Instant};

use site::{Dice, Finding};

/// What one try came to: whether the fault struck, which a kill may be too late for.
type Tried = Result<bool, Finding>;

/// A kind of tries.
struct Kind {
    name: &'static str,
    /// Tries in each round of the campaign; 200 rounds are a full one.
    a_round: u32,
    once: fn(&mut Dice) -> Tried,
}

const KINDS: [Kind; 15] = [
    kind("kill-run", 5, kills::run),
    kind("kill-worker", 1, kills::worker),
    kind("kill-gc", 1, kills::gc),
    kind("kill-rebuild", 1, kills::rebuild),
    kind("kill-verify", 1, kills::verify),
    kind("kill-import", 1, kills::import),
    kind("kill-large", 1, large::kill),
    kind("signal", 1, kills::signal),
    kind("pair", 50, crowds::pair),
    kind("takeover", 2, crowds::takeover),
    kind("crowd", 1, crowds::crowd),
    kind("full-disk", 2, faults::full_disk),
    kind("damage", 3, faults::damage),
    kind("archive", 2, faults::archive),
    kind("limits", 2, faults::limits),
];

const fn kind(name: &'static str, a_round: u32, once: fn(&mut Dice) -> Tried) -> Kind {
    Kind { name, a_round, once }
}

/// What is to be tried.
struct Campaign {
    seed: u64,
    rounds: u32,
    /// Tries of each kind in a round: those of the kind, or at most so many.
    at_most: u32,
    until: Option<Instant>,
    only: Option<String>,
}

impl Campaign {
    /// Returns the findings.
    fn run(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut counts = [(0, 0); KINDS.len()];
        let wanted = |kind: &Kind| {
            self.only
                .as_ref()
                .is_none_or(|only| only.split(',').any(|name| name == kind.name))
        };
        let over = || self.until.is_some_and(|until| Instant::now() >= until);
        'all: for round in 0..self.rounds {
            if round > 0 && round.is_multiple_of(10) {
                println!("round {round}: {} tries, {} findings", total(&counts), findings.len());
            }
            for (kind, (tries, struck)) in KINDS.iter().zip(&mut counts).filter(|(kind, _)| wanted(kind)) {
                for _ in 0..kind.a_round.min(self.at_most) {
                    if over() {
                        break 'all;
                    }
                    match self.attempt(kind, *tries) {
                        Ok(did) => *struck += u32::from(did),
                        Err(finding) => findings.push(finding),
                    }
                    *tries += 1;
                }
            }
        }
        println!("{:<14}{:>8}{:>8}", "tries of", "", "struck");
        for (kind, (tries, struck)) in KINDS.iter().zip(counts).filter(|(kind, _)| wanted(kind)) {
            println!("{:<14}{tries:>8}{struck:>8}", kind.name);
        }
        println!("{} findings", findings.len());
        findings
    }

    fn attempt(&self, kind: &Kind, number: u32) -> Tried {
        let mut dice = Dice::new(self.seed, kind.name, number);
        let tried = std::panic::catch_unwind(move || (kind.once)(&mut dice));
        let tried = tried.unwrap_or_else(|_| Err("the test itself panicked, see above".to_owned()));
        tried.map_err(|what| {
            let finding = format!("TORTURE_SEED={} TORTURE_TRY={}:{number}: {what}", self.seed, kind.name);
            println!("FINDING {finding}");
            finding
        })
    }
}

fn total(counts: &[(u32, u32)]) -> u32 {
    counts.iter().map(|(tries, _)| tries).sum()
}

#[test]
fn a_short_campaign_finds_nothing() {
    let short = Campaign {
        seed: 1,
        rounds: 2,
        at_most: 3,
        until: None,
        only: None,
    };
    assert_eq!(short.run(), Vec::<Finding>::new());
}

#[test]
#[ignore = "a campaign of minutes to hours: `just torture MINUTES`"]
fn campaign() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let seed = number("TORTURE_SEED").unwrap_or(1);
    let minutes = number("TORTURE_MINUTES").unwrap_or(60);
    let campaign = Campaign {
        seed,
        rounds: number("TORTURE_ROUNDS").map_or(u32::MAX, |rounds| u32::try_from(rounds).expect("fewer rounds")),
        at_most: u32::MAX,
        until: Some(Instant::now() + Duration::from_secs(60 * minutes)),
        only: std::env::var("TORTURE_ONLY").ok().filter(|only| !only.is_empty()),
    };
    if let Ok(which) = std::env::var("TORTURE_TRY") {
        let (name, number) = which.split_once(':').expect("KIND:NUMBER");
        let kind = KINDS.iter().find(|kind| kind.name == name).expect("a kind of tries");
        let tried = campaign.attempt(kind, number.parse().expect("a number"));
        assert!(tried.is_ok(), "it is found again");
        return;
    }
    assert_eq!(campaign.run(), Vec::<Finding>::new());
}
