//! A root file system in a folder of the host: paths are looked up in it as a device would, links included.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links on one path; as many as the kernel follows.
const LINKS: usize = 40;

/// The folders of `env`'s search, when a service manager starts the client.
const SEARCHED: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A folder that stands for a device's `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The folder with a root file system in it.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The host's path of what stands at `path` on the device; `None`: there is nothing. No link leads out of the folder.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<PathBuf> {
        let mut rest = components(path);
        let (mut at, mut links) = (Vec::<OsString>::new(), 0);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let here = self.0.join(at.iter().collect::<PathBuf>());
            let about = fs::symlink_metadata(&here).ok()?;
            if about.is_symlink() {
                links += 1;
                if links > LINKS {
                    return None;
                }
                let to = fs::read_link(&here).ok()?;
                at.pop();
                if to.has_root() {
                    at.clear();
                }
                let mut before = components(&to);
                before.append(&mut rest);
                rest = before;
            }
        }
        Some(self.0.join(at.iter().collect::<PathBuf>()))
    }

    /// Whether a program of this name or absolute path is there.
    #[must_use]
    pub fn has_program(&self, name: &str) -> bool {
        let is_file = |path: &Path| self.find(path).is_some_and(|found| found.is_file());
        if name.contains('/') {
            is_file(Path::new(name))
        } else {
            SEARCHED.iter().any(|folder| is_file(&Path::new(folder).join(name)))
        }
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_root() {
        let folder = std::env::temp_dir().join(format!("thimble-root-{}", std::process::id()));
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        fs::write(folder.join("usr/bin/busybox"), "").unwrap();
        symlink("/usr/bin", folder.join("bin")).unwrap();
        symlink("../../../../usr/bin/busybox", folder.join("usr/bin/sh")).unwrap();
        symlink("loop", folder.join("usr/bin/loop")).unwrap();
        symlink("/etc/passwd", folder.join("usr/bin/out")).unwrap();
        let root = Root::new(&folder);
        for there in ["/bin/sh", "sh", "/bin/busybox", "/usr/bin/../bin/sh", "/../bin/sh"] {
            assert!(root.has_program(there), "{there}");
        }
        for missing in ["/bin/loop", "out", "/bin/bash", "bash", "/bin", "/bin/sh/x"] {
            assert!(!root.has_program(missing), "{missing}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
