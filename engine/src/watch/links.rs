//! Where a path leads.

use std::path::{Component, Path, PathBuf};

/// More links than this on the way are taken for a circle, as Linux does.
const MOST_LINKS: usize = 40;

/// The links on the way to a file or directory, and where it lies; all without links above them, as the system names them in its hints. Of
/// what is not there, the place that it would have.
pub(super) fn follow(path: &Path) -> (Vec<PathBuf>, PathBuf) {
    let (mut links, mut place) = (Vec::new(), PathBuf::new());
    let mut left = path.to_owned();
    while let Some(next) = left.components().next() {
        let rest = left.components().skip(1).collect::<PathBuf>();
        match next {
            Component::ParentDir => {
                place.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => place.push(next),
        }
        left = match std::fs::read_link(&place) {
            Ok(target) if links.len() < MOST_LINKS => {
                links.push(place.clone());
                place.pop();
                target.join(rest)
            }
            _ => rest,
        };
    }
    (links, place)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_lead_in_a_circle_or_nowhere_are_followed_to_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = follow(dir.path()).1;
        symlink("circle", root.join("circle")).unwrap();
        symlink("../nowhere/x", root.join("lost")).unwrap();
        assert_eq!(follow(&root.join("circle/b")).0.len(), MOST_LINKS);
        let (links, place) = follow(&root.join("lost/y"));
        let nowhere = root.parent().unwrap().join("nowhere/x/y");
        assert_eq!((links, place), (vec![root.join("lost")], nowhere));
    }
}
