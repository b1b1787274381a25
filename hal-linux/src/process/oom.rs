//! The kernel ends processes when memory runs out; services that must stay, as this one, ask it to look elsewhere first.
//! Children would inherit that, and a module that takes all the memory there is would end everything else.

use std::fs;
use std::path::Path;

/// While this lives, the process has no protection, and neither have children that begin meanwhile.
pub(super) struct Ordinary<'a> {
    file: &'a Path,
    /// What is given back: `None` when there was no protection.
    protected: Option<String>,
}

impl Ordinary<'_> {
    pub(super) fn begin() -> Self {
        Self::begin_in(Path::new("/proc/self/oom_score_adj"))
    }
}

impl<'a> Ordinary<'a> {
    fn begin_in(file: &'a Path) -> Self {
        let own = fs::read_to_string(file).ok();
        let is_protected = |own: &String| own.trim().parse::<i32>().is_ok_and(|score| score < 0);
        // Where it cannot be changed the child inherits it, which is better than no child.
        let protected = own.filter(is_protected).filter(|_| fs::write(file, "0").is_ok());
        Self { file, protected }
    }
}

impl Drop for Ordinary<'_> {
    fn drop(&mut self) {
        if let Some(protected) = &self.protected {
            // A process may always go back to what it was given.
            let _ = fs::write(self.file, protected.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_ends_while_children_begin_and_comes_back() {
        let lab = tempfile::tempdir().unwrap();
        let file = lab.path().join("oom_score_adj");
        let now = || fs::read_to_string(&file).unwrap().trim().to_owned();
        for (score, meanwhile) in
            [("-500\n", "0"), ("-1\n", "0"), ("0\n", "0"), ("300\n", "300"), ("?\n", "?")]
        {
            fs::write(&file, score).unwrap();
            let ordinary = Ordinary::begin_in(&file);
            assert_eq!(now(), meanwhile, "{score}");
            drop(ordinary);
            assert_eq!(now(), score.trim());
        }
        fs::remove_file(&file).unwrap();
        drop(Ordinary::begin_in(&file));
        assert!(!file.exists());
    }
}
