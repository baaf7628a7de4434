//! Processes that run for a test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::kit::{eventually, s};

/// A process of the composition; it ends with the test.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) out: PathBuf,
}

impl Running {
    pub(super) fn start(command: &mut Command, dir: &Path, name: &str) -> Self {
        let out = dir.join(format!("{name}.out"));
        let file = |name: &Path| std::fs::File::create(name).unwrap();
        let err = dir.join(format!("{name}.err"));
        let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).current_dir(dir);
        Self { child: child.spawn().unwrap(), out }
    }

    /// What it has printed, once `is_whole` says so.
    pub(super) fn printed(&mut self, is_whole: impl Fn(&str) -> bool) -> String {
        eventually("its output", s(60), || {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            std::fs::read_to_string(&self.out).ok().filter(|text| is_whole(text))
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.out.with_extension("err")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            println!("--- {}\n{}", self.out.display(), self.log());
        }
    }
}
