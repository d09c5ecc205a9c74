//! A library loaded before libc into a server. While the server runs its wall clock can be set wrong, its disk can hang or
//! be full, and it can be kept from forking. What it has synced to disk is known, so that a power cut can be told from the
//! death of a process.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = include_str!("shim.c");
/// Inode and length, as `shim.c` writes them.
const RECORD: usize = 16;

/// The numbers of `struct control` in `shim.c`, in their order.
#[derive(Clone, Copy)]
enum Control {
    WrongBy,
    Hold,
    Held,
    Room,
    ForkError,
    Pace,
}

/// No limit.
const ROOM: i64 = -1;

/// The library, ready to be loaded.
#[derive(Clone, Debug)]
pub struct Library(PathBuf);

impl Library {
    /// Compiles the library into `directory` with the system's C compiler.
    pub fn build(directory: &Path) -> io::Result<Library> {
        let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Library(library))
    }
}

/// The files through which one server's library is told and tells.
pub struct Shim {
    library: Library,
    control: PathBuf,
    synced: PathBuf,
}

impl Shim {
    /// `directory` must not be the server's own: a power cut spares it.
    pub fn new(library: &Library, directory: &Path, name: &str) -> io::Result<Shim> {
        let shim = Shim {
            library: library.clone(),
            control: directory.join(format!("{name}.control")),
            synced: directory.join(format!("{name}.synced")),
        };
        File::create(&shim.control)?.set_len(8 * (Control::Pace as u64 + 1))?;
        shim.set(Control::Room, ROOM)?;
        File::create(&shim.synced)?;
        Ok(shim)
    }

    /// What the server's environment must hold.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", &self.library.0),
            ("LAB_CONTROL", &self.control),
            ("LAB_SYNCED", &self.synced),
        ];
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        variables.map(|(name, path)| (name.to_string(), text(path))).into()
    }

    /// Sets the wall clock ahead by `ahead` less `behind`, at once; the monotonic clocks run on.
    pub fn set_clock(&self, ahead: Duration, behind: Duration) -> io::Result<()> {
        let wrong_by = ahead.as_nanos() as i64 - behind.as_nanos() as i64;
        self.set(Control::WrongBy, wrong_by)
    }

    /// From now on the wall clock goes on by so much with each look at it, beside the time that passes: what seldom
    /// happens between two looks happens all the time.
    pub fn hurry_clock(&self, pace: Duration) -> io::Result<()> {
        self.set(Control::Pace, pace.as_nanos() as i64)
    }

    /// From now on every fsync hangs, until [`Shim::release_syncs`].
    pub fn hold_syncs(&self) -> io::Result<()> {
        self.set(Control::Held, 0)?;
        self.set(Control::Hold, 1)
    }

    pub fn release_syncs(&self) -> io::Result<()> {
        self.set(Control::Hold, 0)
    }

    /// Whether an fsync has come to hang since [`Shim::hold_syncs`].
    pub fn holds_a_sync(&self) -> io::Result<bool> {
        let mut number = [0; 8];
        File::open(&self.control)?.read_exact_at(&mut number, 8 * Control::Held as u64)?;
        Ok(i64::from_ne_bytes(number) > 0)
    }

    /// What is written to files with `write` fails after `room` more bytes: the disk is full. The server's log is not
    /// written so, nor are snapshots.
    pub fn fill_disk(&self, room: u32) -> io::Result<()> {
        self.set(Control::Room, room.into())
    }

    pub fn empty_disk(&self) -> io::Result<()> {
        self.set(Control::Room, ROOM)
    }

    /// Every fork fails with this error number (`ENOMEM`, `EAGAIN`); `None`: none fails.
    pub fn fail_forks(&self, error: Option<i32>) -> io::Result<()> {
        self.set(Control::ForkError, error.unwrap_or(0).into())
    }

    fn set(&self, which: Control, number: i64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.control)?;
        file.write_all_at(&number.to_ne_bytes(), 8 * which as u64)
    }

    /// Cuts every file below `directory` back to what was synced: the worst that a power cut can leave of the files
    /// of a server that was killed. Files that were never synced are left empty.
    pub fn cut_power(&self, directory: &Path) -> io::Result<()> {
        self.cut(directory, &self.lengths()?)
    }

    /// The length that each inode had when it was last synced.
    fn lengths(&self) -> io::Result<HashMap<u64, u64>> {
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        let records = fs::read(&self.synced)?;
        let records = records.chunks_exact(RECORD);
        Ok(records
            .map(|record| (number(&record[..8]), number(&record[8..])))
            .collect())
    }

    fn cut(&self, directory: &Path, lengths: &HashMap<u64, u64>) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let (path, data) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if data.is_dir() {
                self.cut(&path, lengths)?;
                continue;
            }
            let length = lengths.get(&data.ino()).copied().unwrap_or(0);
            if length < data.len() {
                OpenOptions::new().write(true).open(&path)?.set_len(length)?;
            }
        }
        Ok(())
    }
}
