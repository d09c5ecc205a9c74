//! On which cores a thread may run.

use std::io::Error;

use super::Result;

#[derive(Clone, Copy)]
pub struct Cores(libc::cpu_set_t);

impl Cores {
    /// Those that this thread may run on.
    pub fn allowed() -> Result<Cores> {
        let mut cores = Cores::none();
        // SAFETY: this thread, and memory of that size.
        checked(unsafe { libc::sched_getaffinity(0, size_of_val(&cores.0), &mut cores.0) })?;
        Ok(cores)
    }

    /// The one that this thread is on now.
    pub fn current() -> Result<Cores> {
        let mut cores = Cores::none();
        // SAFETY: no arguments; a core that the set has room for.
        unsafe {
            let core = libc::sched_getcpu();
            checked(core.min(0))?;
            libc::CPU_SET(core as usize, &mut cores.0);
        }
        Ok(cores)
    }

    /// Lets a thread, 0 for this one, run on these only. Threads that it starts inherit that.
    pub fn hold(&self, thread: u32) -> Result<()> {
        // SAFETY: memory of that size.
        checked(unsafe { libc::sched_setaffinity(thread as i32, size_of_val(&self.0), &self.0) })
    }

    fn none() -> Cores {
        // SAFETY: plain data; no bit is set.
        Cores(unsafe { std::mem::zeroed() })
    }
}

fn checked(result: i32) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os_error().into()),
    }
}
