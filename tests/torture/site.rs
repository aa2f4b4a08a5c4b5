//! A place for one try: a workflow of small nodes of all sorts (in a thread, a program, a worker) and what must hold of its cache afterwards.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::Place;

/// What is not as it should be, in words.
pub(crate) type Finding = String;

/// Nodes of one value of the matrix.
pub(crate) const NODES: usize = 5;

/// The values that tries take: the digests of all are known.
pub(crate) const SALTS: u64 = 8;

/// No command of a try takes this long unless it hangs, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const WORKFLOW: &str = r#"
[workflow]
name = "torture"
[matrix]
salt = [0]
[nodes.first]
kind = "concat"
text = "${salt}\n"
[nodes.joined]
kind = "concat"
inputs = ["first"]
text = "joined\n"
[nodes.program]
kind = "command"
run = ["cat", "inputs/n/text"]
inputs = { n = "first" }
stdout = "said"
[nodes.worker]
kind = "concat"
inputs = ["joined"]
text = "worker\n"
isolate = true
[nodes.last]
kind = "concat"
inputs = ["program", "worker"]
"#;

/// Small numbers, the same ones each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, kind: &str, number: u32) -> Self {
        let start = kind.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut dice = Self((start ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        dice
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }

    /// Some values of the matrix, one at least.
    pub(crate) fn salts(&mut self, most: u64) -> Vec<u64> {
        let from = self.roll(SALTS - most);
        (from..=from + self.roll(most)).collect()
    }
}

/// The digests of each node's outputs, by its name.
pub(crate) type Digests = BTreeMap<String, String>;

/// What a cache holds to which nothing happened: the digests, and an archive of them.
pub(crate) fn undisturbed() -> &'static (Digests, Vec<u8>) {
    static ALL: OnceLock<(Digests, Vec<u8>)> = OnceLock::new();
    ALL.get_or_init(|| {
        let site = Site::new();
        let salts: Vec<u64> = (0..SALTS).collect();
        let entries: Vec<String> = salts.iter().map(|salt| format!("last[salt={salt}]")).collect();
        let mut export = vec!["cache", "export", "--with-inputs", "-o", "all"];
        export.extend(entries.iter().map(String::as_str));
        let made = site.run(&salts).and_then(|_| site.ok(&export));
        made.expect("nothing disturbs it");
        (
            site.digests().expect("sound"),
            std::fs::read(site.path("all")).expect("an archive"),
        )
    })
}

/// A command of a site that was started.
pub(crate) struct Started {
    what: String,
    child: Child,
    said: PathBuf,
    pub(crate) began: Instant,
}

/// How it ended.
pub(crate) struct Ended {
    /// `None`: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    what: String,
}

impl Started {
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended meanwhile; its number is not given out again before it is waited for.
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is a child");
    }

    /// Kills it at a moment between now and twice its usual length; whether it was still there.
    pub(crate) fn kill(mut self, dice: &mut Dice, usual: Duration) -> bool {
        std::thread::sleep(usual.mul_f64(dice.roll(1000) as f64 / 700.0));
        let alive = matches!(self.child.try_wait(), Ok(None));
        if alive {
            self.signal(Signal::KILL);
            self.child.wait().expect("it is a child");
        }
        alive
    }

    /// Waits for it. A panic, an abort or a hang is a finding, whatever it had to do.
    pub(crate) fn end(mut self) -> Result<Ended, Finding> {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is a child") {
                break status;
            }
            if self.began.elapsed() > PATIENCE {
                self.signal(Signal::KILL);
                self.child.wait().expect("it is a child");
                return Err(format!("`flow {}` hangs: {}", self.what, self.said()));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let stderr = self.said();
        if status.code().is_none() || status.code() == Some(101) || stderr.contains("panicked") {
            return Err(format!("`flow {}`: {status}: {stderr}", self.what));
        }
        Ok(Ended {
            code: status.code(),
            stderr,
            what: self.what,
        })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap_or_default()).into_owned()
    }
}

impl Ended {
    pub(crate) fn must_be(self, codes: &[i32]) -> Result<Self, Finding> {
        match self.code.is_some_and(|code| codes.contains(&code)) {
            true => Ok(self),
            false => Err(format!(
                "`flow {}` ended with {:?}, not {codes:?}: {}",
                self.what, self.code, self.stderr
            )),
        }
    }
}

/// A folder with the workflow.
pub(crate) struct Site {
    place: Place,
    commands: std::cell::Cell<u32>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::of(WORKFLOW)
    }

    /// A folder with another workflow.
    pub(crate) fn of(workflow: &str) -> Self {
        let place = Place::new(workflow);
        std::fs::create_dir(place.path("tmp")).expect("a folder");
        Self {
            place,
            commands: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path(".flow/cache")
    }

    /// The arguments of a run.
    pub(crate) fn run_of(salts: &[u64], jobs: u64) -> Vec<String> {
        let run = [
            "run",
            "w.toml",
            "--set",
            &format!("matrix.salt={salts:?}"),
            "-j",
            &jobs.to_string(),
        ];
        run.map(str::to_owned).to_vec()
    }

    pub(crate) fn start(&self, arguments: &[impl AsRef<str>]) -> Started {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        self.start_as(self.place.command(&arguments), arguments.join(" "))
    }

    /// The same under a limit of the shell's, e.g. `-n 20`.
    pub(crate) fn start_limited(&self, limit: &str, arguments: &[String]) -> Started {
        let mut command = self.place.command(&[]);
        let mut shell = Command::new("sh");
        let flow = command.get_program().to_owned();
        shell
            .args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")])
            .arg(flow)
            .args(arguments);
        shell.current_dir(self.place.dir.path()).env("NO_COLOR", "1");
        command = shell;
        self.start_as(command, format!("{} under ulimit {limit}", arguments.join(" ")))
    }

    fn start_as(&self, mut command: Command, what: String) -> Started {
        self.commands.set(self.commands.get() + 1);
        let said = self.path(&format!("said-{}", self.commands.get()));
        let file = File::create(&said).expect("the site can be written");
        // TMPDIR tells the processes of this site from all others.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .env("TMPDIR", self.path("tmp"));
        Started {
            what,
            child: command.spawn().expect("flow starts"),
            said,
            began: Instant::now(),
        }
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<Ended, Finding> {
        self.start(arguments).end()?.must_be(&[0])
    }

    /// A run that must succeed; how many nodes ran.
    pub(crate) fn run(&self, salts: &[u64]) -> Result<usize, Finding> {
        let ended = self.start(&Self::run_of(salts, 2)).end()?.must_be(&[0])?;
        let words: Vec<&str> = ended.stderr.split_whitespace().collect();
        let ran = words
            .windows(2)
            .find(|pair| pair[1].starts_with("ran,"))
            .and_then(|pair| pair[0].parse().ok());
        ran.ok_or_else(|| format!("it does not say how many ran: {}", ended.stderr))
    }

    /// Numbers and command lines of the living processes that belong to this site.
    pub(crate) fn processes(&self) -> Vec<(Pid, String)> {
        let mark = self.place.dir.path().to_string_lossy().into_owned();
        let all = std::fs::read_dir("/proc").expect("Linux").flatten();
        let ours = all.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let ours = String::from_utf8_lossy(&environment).contains(&mark);
            ours.then(|| (pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        });
        ours.collect()
    }

    /// Nothing is left of what was started here, some seconds after it was killed at the latest.
    pub(crate) fn no_orphans(&self) -> Result<(), Finding> {
        let began = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE / 2 {
                for (pid, _) in &left {
                    let _ = kill_process(*pid, Signal::KILL);
                }
                return Err(format!("processes are left: {left:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The digests that the records' files have.
    pub(crate) fn digests(&self) -> Result<Digests, Finding> {
        let files = files_under(&self.cache().join("records"));
        let read = files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end == "json"))
            .map(|file| {
                let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let text = String::from_utf8_lossy(&bytes);
                let mut records = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
                let record = records
                    .next()
                    .and_then(Result::ok)
                    .ok_or_else(|| format!("{}: {text:?}", file.display()))?;
                let outputs = record["outputs"].as_object().into_iter().flat_map(|all| all.values());
                let digests: Vec<&str> = outputs.filter_map(|output| output["digest"].as_str()).collect();
                Ok((
                    record["node"].as_str().unwrap_or_default().to_owned(),
                    digests.join(" "),
                ))
            });
        read.collect()
    }

    /// What of the nodes of these values is published.
    pub(crate) fn published(&self, salts: &[u64]) -> Result<usize, Finding> {
        let of_these = |node: &&String| salts.iter().any(|salt| node.ends_with(&format!("[salt={salt}]")));
        Ok(self.digests()?.keys().filter(of_these).count())
    }

    /// No record has another digest than in a cache to which nothing happened.
    pub(crate) fn right(&self) -> Result<(), Finding> {
        let (expected, _) = undisturbed();
        match self
            .digests()?
            .into_iter()
            .find(|(node, digest)| expected.get(node) != Some(digest))
        {
            None => Ok(()),
            Some((node, digest)) => Err(format!("{node} has {digest} instead of {:?}", expected.get(&node))),
        }
    }

    /// What was left by processes of the past is gone. An index that was made anew lies aside, in the place of the one before.
    pub(crate) fn tidy(&self, but: &[&str]) -> Result<(), Finding> {
        // The keeper of a process that was killed clears up after it, beside us.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.litter(but);
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("litter is left: {left:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn litter(&self, but: &[&str]) -> Vec<PathBuf> {
        let folders = ["staging", "scratch", "claims", "leases", "quarantine", "../../tmp"];
        let folders = folders.iter().filter(|folder| !but.contains(folder));
        let entries = folders.filter_map(|folder| std::fs::read_dir(self.cache().join(folder)).ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        paths
            .filter(|path| !path.ends_with("claims/turn") && !path.ends_with("quarantine/index"))
            .collect()
    }

    /// All that must hold after a fault, whatever it was: the next run does what is not published and no more, everything is right by
    /// the records, by the blobs and by the index, and there is no litter.
    pub(crate) fn holds(&self, salts: &[u64]) -> Result<(), Finding> {
        self.holds_but(salts, &[])
    }

    /// The same; there may be litter in the folders `but`.
    pub(crate) fn holds_but(&self, salts: &[u64], but: &[&str]) -> Result<(), Finding> {
        self.no_orphans()?;
        let missing = salts.len() * NODES - self.published(salts)?;
        let ran = self.run(salts)?;
        if ran > missing {
            return Err(format!("{ran} nodes ran, but only {missing} were not published"));
        }
        self.whole(salts, but)
    }

    /// The same once the nodes of `salts` have run; there may be litter in the folders `but`.
    pub(crate) fn whole(&self, salts: &[u64], but: &[&str]) -> Result<(), Finding> {
        self.no_orphans()?;
        self.tidy(but)?;
        self.right()?;
        let published = self.published(salts)?;
        if published != salts.len() * NODES {
            return Err(format!(
                "only {published} of {} nodes are published",
                salts.len() * NODES
            ));
        }
        self.ok(&["cache", "verify"])?;
        let listed = self.place.flow(&["cache", "ls", "--json"]);
        let lines = listed.stdout.lines().count();
        match lines == self.digests()?.len() {
            true => Ok(()),
            false => Err(format!(
                "{lines} entries are listed, {} records are there: {}",
                self.digests()?.len(),
                listed.stderr
            )),
        }
    }
}

pub(crate) fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(files_under(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}
