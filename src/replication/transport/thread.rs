//! The replication thread: its start, its signals, and its restart after a panic.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use tokio::runtime;

use super::Level;
use super::driver::Driver;
use super::network::Network;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Threads for name servers that do not answer.
const RESOLVERS: usize = 8;

/// All signals are the server's main thread's business, but faults are reported where they happen.
pub(super) fn spawn<N: Network>(driver: Driver<N>) -> io::Result<JoinHandle<()>> {
    let before = block_signals();
    let thread = Builder::new()
        .name("geo-replication".into())
        .spawn(move || supervise(driver));
    restore_signals(&before);
    thread
}

fn supervise<N: Network>(mut driver: Driver<N>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let end = catch_unwind(AssertUnwindSafe(|| run(&mut driver)));
        let text = match end {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => panic.downcast::<&str>().map_or("panic".into(), |text| text.to_string()),
            },
        };
        let text = format!(
            "the replication thread failed and starts again in {} ms: {text}",
            pause.as_millis()
        );
        driver.node().events.log(Level::Warning, text);
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Dropping the runtime, also by a panic, ends every task; each link's end is told then.
fn run<N: Network>(driver: &mut Driver<N>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .build()?;
    let runtime = Background(Some(runtime));
    if let Some(runtime) = &runtime.0 {
        runtime.block_on(driver.run());
    }
    Ok(())
}

/// A runtime that does not wait for a name server when it is dropped.
struct Background(Option<runtime::Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Threads inherit the mask: set before the start, no signal can slip in between.
fn block_signals() -> libc::sigset_t {
    // SAFETY: the sets are plain memory, filled by these calls before they are read.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGABRT,
            libc::SIGTRAP,
        ] {
            libc::sigdelset(&mut all, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: `before` was filled by `block_signals`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut());
    }
}
