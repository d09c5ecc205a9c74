//! CPU time of a server's threads.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use super::Result;

/// CPU time a process has used.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// The thread that runs the commands.
    pub main: Duration,
    /// All other threads.
    pub others: Duration,
}

impl Cpu {
    /// From `/proc/PID/task/TID/schedstat`, whose first number is nanoseconds on a CPU, user and system.
    pub fn of(pid: u32) -> Result<Cpu> {
        let mut cpu = Cpu {
            main: Duration::ZERO,
            others: Duration::ZERO,
        };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let text = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
            let used = match task.file_name().to_string_lossy() == pid.to_string() {
                true => &mut cpu.main,
                false => &mut cpu.others,
            };
            *used += Duration::from_nanos(nanoseconds);
        }
        Ok(cpu)
    }

    pub fn total(self) -> Duration {
        self.main + self.others
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu {
            main: self.main.saturating_sub(earlier.main),
            others: self.others.saturating_sub(earlier.others),
        }
    }
}
