//! Who a process is, to others that have the same store open.

use std::fmt;
use std::sync::OnceLock;

use crate::digest::Digest;
use crate::host::host_name;

/// A process that has not said who it is.
pub(crate) const UNNAMED: &str = "another process";

/// Words of a command line that are shown, in characters.
const SHOWN: usize = 120;

/// What tells a process from every other one, of whatever container or boot: process numbers alone are used again, and two containers have
/// the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    host: String,
    boot: String,
    namespace: String,
    pid: u32,
    /// When it began, in ticks since the boot.
    started: String,
}

impl ProcessId {
    /// This process.
    pub(crate) fn own() -> &'static Self {
        static OWN: OnceLock<ProcessId> = OnceLock::new();
        OWN.get_or_init(|| {
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
            Self {
                host: host_name(),
                boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
                namespace: namespace.display().to_string(),
                pid: std::process::id(),
                started: start_time(&read("/proc/self/stat")).to_owned(),
            }
        })
    }

    /// A short name for files: the process number and a piece of the digest of everything.
    pub(crate) fn file_name(&self) -> String {
        let all = [&self.host, &self.boot, &self.namespace, &self.started].map(String::as_str);
        let digest = Digest::of(all.join("\0").as_bytes());
        format!("{}-{}", self.pid, digest.short())
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// The 22nd field of `/proc/<pid>/stat`; the second is the program's name in parentheses, which may hold anything.
fn start_time(stat: &str) -> &str {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).unwrap_or("")
}

/// This process for people, on one line: `process 123 on host (flow run w.toml, since 2026-11-27 11:53:52 UTC)`.
pub(crate) fn description() -> String {
    let words: Vec<String> = std::env::args_os()
        .enumerate()
        .map(|(at, word)| match at {
            0 => std::path::Path::new(&word)
                .file_name()
                .unwrap_or(&word)
                .display()
                .to_string(),
            _ => word.display().to_string(),
        })
        .collect();
    let since = jiff::Timestamp::now().strftime("%F %T UTC");
    format!("{} ({}, since {since})", ProcessId::own(), one_line(&words.join(" ")))
}

/// The beginning of a command line.
fn one_line(text: &str) -> String {
    shown(&text.chars().take(SHOWN).collect::<String>())
}

/// A text of others for a message: without what would end the line or command a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_two_containers_boots_or_times_are_two_also_with_one_number() {
        let own = ProcessId::own();
        let others = [
            ProcessId {
                namespace: "pid:[1]".into(),
                ..own.clone()
            },
            ProcessId {
                boot: "another".into(),
                ..own.clone()
            },
            ProcessId {
                started: "1".into(),
                ..own.clone()
            },
            ProcessId {
                host: "elsewhere".into(),
                ..own.clone()
            },
        ];
        for other in others {
            assert_eq!(other.pid, own.pid);
            assert_ne!(other, *own);
            assert_ne!(other.file_name(), own.file_name());
        }
        assert!(own.file_name().starts_with(&format!("{}-", std::process::id())));
    }

    #[test]
    fn a_programs_name_does_not_hide_when_it_began() {
        let fields: Vec<String> = (4..=30).map(|n| n.to_string()).collect();
        assert_eq!(start_time(&format!("7 (a) b) (c) S {}", fields.join(" "))), "22");
        assert_eq!(start_time("7 (a"), "");
    }

    #[test]
    fn a_process_is_told_on_one_line_by_number_host_command_and_time() {
        let told = description();
        assert!(
            told.starts_with(&format!("process {} on ", std::process::id())),
            "{told}"
        );
        assert!(told.contains("since 20") && !told.contains('\n'), "{told}");
        assert_eq!(one_line("a\u{1b}[2J\nb"), "a [2J b");
    }
}
