//! Work that the process can't do without: where it panics, the process ends, to be started anew, rather than going on
//! half alive.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;

/// `EX_SOFTWARE` of `sysexits.h`.
const CODE: i32 = 70;

/// Does `work` to its end, and gives what comes of it.
pub(crate) async fn task<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(_) => end(name),
    }
}

/// The same for a thread.
pub(crate) fn thread(name: &'static str, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        end(name);
    }
}

fn end(name: &str) -> ! {
    // What panicked, and where, stands in the line before.
    tracing::error!(task = name, code = CODE, "A BACKGROUND TASK PANICKED: the process ends");
    std::process::exit(CODE)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "it ends the process"]
    fn a_task_that_panics() {
        let _log = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
        futures::executor::block_on(task("ticker", async { panic!("out of order") }));
    }

    #[test]
    #[ignore = "it ends the process"]
    fn a_thread_that_panics() {
        let _log = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
        let _never = std::thread::spawn(|| thread("comparator", || panic!("out of order"))).join();
        std::thread::park();
    }

    #[test]
    fn a_panic_in_the_background_ends_the_process_and_says_so() {
        for (test, name) in [("a_task_that_panics", "ticker"), ("a_thread_that_panics", "comparator")] {
            let test = format!("vital::tests::{test}");
            let mut command = Command::new(std::env::current_exe().unwrap());
            let output = command.args([&test, "--exact", "--ignored", "--nocapture"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(CODE), "{said}");
            assert!(said.contains("out of order") && said.contains("A BACKGROUND TASK PANICKED"), "{said}");
            assert!(said.contains(name), "{said}");
        }
    }
}
