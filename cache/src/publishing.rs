//! The lock of those that publish, against collections: together they publish, alone one collects.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::claim;
use crate::error::CacheError;
use crate::files::Files;
use crate::lock;
use crate::process;

/// What the lock is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// To publish, or to count on nothing being collected.
    Together,
    /// To take things away.
    Alone,
}

/// The lock, until it is dropped.
pub(crate) struct PublishLock {
    file: File,
    alone: bool,
}

impl Drop for PublishLock {
    fn drop(&mut self) {
        if self.alone {
            let _ = self.file.set_len(0);
        }
    }
}

impl Files {
    /// Waits for the lock; whoever waits for longer than a moment is told for whom. `None` on a disk without locks.
    ///
    /// # Errors
    /// [`CacheError::Interrupted`] if the process is asked to end meanwhile; whatever opening the lock's file gives.
    pub(crate) fn lock_publishing(&self, what: Publishing) -> Result<Option<PublishLock>, CacheError> {
        self.lock_publishing_until(what, None)
    }

    /// The same, but not beyond a moment, which is as if the process were asked to end then.
    ///
    /// # Errors
    /// As [`Files::lock_publishing`].
    pub(crate) fn lock_publishing_until(
        &self,
        what: Publishing,
        until: Option<Instant>,
    ) -> Result<Option<PublishLock>, CacheError> {
        let (path, alone) = (self.layout.publish_lock(), what == Publishing::Alone);
        let failed = |error| CacheError::io("lock", &path, error);
        let Some(file) = self.disk.lock_file(&path).map_err(failed)? else {
            return Ok(None);
        };
        // Who is alone writes its name into the file; of those together each has its keys on a board.
        let holder = || match alone {
            true => claim::at_work(self),
            false => match self.disk.lock_file(&path) {
                Ok(Some(mut file)) => lock::named_in(&mut file),
                _ => process::UNNAMED.to_owned(),
            },
        };
        let tell = || tracing::warn!("{}", waits_for(&holder(), alone));
        let is_stopped = || is_past(until) || self.stop.get().is_some_and(|stop| stop.load(Ordering::SeqCst));
        match lock::wait(file, alone, tell, is_stopped) {
            Ok(Some(mut file)) => {
                if alone {
                    lock::put_name(&mut file);
                }
                Ok(Some(PublishLock { file, alone }))
            }
            Ok(None) => Err(CacheError::Interrupted { holder: holder() }),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::debug!(%error, "the file system does not support locks: collect only while nothing runs");
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// What is told while others hold the lock: together, if this process waits to be alone.
fn waits_for(holder: &str, alone: bool) -> String {
    let works = match alone {
        true => "publishes",
        false => "removes entries or repairs the cache",
    };
    format!("waiting for {holder}, which {works}; Ctrl-C ends the wait")
}

/// Whether a moment has passed, if there is one.
pub(crate) fn is_past(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_for_whom_and_how_to_end_it() {
        let told = [true, false].map(|alone| waits_for(process::UNNAMED, alone));
        insta::assert_snapshot!(told.join("\n"));
    }
}
