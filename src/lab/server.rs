//! One redis-server with the module, as a child process that ends with us.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{ports, wait_for};
use crate::certificates::Files;

/// How long a server may take to answer its first PING.
const START: Duration = Duration::from_secs(30);
/// How long a client waits for any reply.
const REPLY: Duration = Duration::from_secs(30);
/// Lines of the server's log that an error quotes.
const LOG_TAIL: usize = 25;

/// The command that starts a server: `REDIS_GEO_SERVER`, or else the `redis-server` in PATH.
pub fn program() -> OsString {
    env::var_os("REDIS_GEO_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// The command of that name that belongs to the server: beside it, or else in PATH.
pub fn tool(name: &str) -> OsString {
    let beside = Path::new(&program()).with_file_name(name);
    match beside.is_absolute() && beside.exists() {
        true => beside.into(),
        false => name.into(),
    }
}

/// The configuration of one region's server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The module; `None` starts a server without it.
    pub module: Option<PathBuf>,
    pub region: String,
    pub cluster: String,
    /// Where the module listens for its peers.
    pub listen: SocketAddr,
    /// Name and address to dial.
    pub peers: Vec<(String, SocketAddr)>,
    pub certificate: Files,
    pub authority: PathBuf,
    /// Further module arguments, name and value.
    pub arguments: Vec<(String, String)>,
    /// Further lines of redis.conf.
    pub lines: Vec<String>,
    /// Environment variables of the process.
    pub environment: Vec<(String, String)>,
}

impl Settings {
    fn configuration(&self, directory: &Path, port: u16) -> String {
        let mut lines = vec![
            "bind 127.0.0.1".to_string(),
            format!("port {port}"),
            format!("dir {}", quoted(directory)),
            format!("logfile {}", quoted(&directory.join(LOG))),
            "save \"\"".to_string(),
            "appendonly no".to_string(),
            "daemonize no".to_string(),
        ];
        lines.extend(self.lines.iter().cloned());
        lines.extend(self.module.as_deref().map(|module| self.loadmodule(module)));
        lines.join("\n") + "\n"
    }

    fn loadmodule(&self, module: &Path) -> String {
        let mut line = format!("loadmodule {}", quoted(module));
        let mut argument = |name: &str, value: &str| line.push_str(&format!(" {name} \"{value}\""));
        argument("region", &self.region);
        argument("cluster", &self.cluster);
        argument("listen", &self.listen.to_string());
        for (name, address) in &self.peers {
            argument("peer", &format!("{name}@{address}"));
        }
        argument("certificate", &self.certificate.certificate.to_string_lossy());
        argument("key", &self.certificate.key.to_string_lossy());
        argument("ca", &self.authority.to_string_lossy());
        for (name, value) in &self.arguments {
            argument(name, value);
        }
        line
    }
}

const LOG: &str = "redis.log";

pub(super) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A running (or killed) server. Dropping it kills the process.
pub struct Server {
    pub settings: Settings,
    /// Where clients connect.
    pub address: SocketAddr,
    directory: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a server whose files are in `directory` and waits until it answers.
    ///
    /// The process also ends when the calling thread ends: call this from a thread that lives on.
    pub fn start(directory: &Path, settings: Settings) -> io::Result<Server> {
        fs::create_dir_all(directory)?;
        let mut server = Server {
            settings,
            address: ports::free(),
            directory: directory.into(),
            child: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// Starts the process again, with `settings` as they are now, on the same ports.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let path = self.directory.join("redis.conf");
        fs::write(&path, self.settings.configuration(&self.directory, self.address.port()))?;
        let output = File::create(self.directory.join("output"))?;
        let mut command = Command::new(program());
        command
            .arg(&path)
            .envs(self.settings.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        die_with_parent(&mut command);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), format!("there is no {}", program().display())),
            _ => error,
        })?;
        self.child = Some(child);
        self.await_ready()
    }

    fn await_ready(&mut self) -> io::Result<()> {
        let mut ended = None;
        let answer = wait_for("the server's first reply", START, || {
            ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            (ended.is_some() || self.answers()).then_some(())
        });
        match (ended, answer) {
            (Some(status), _) => Err(self.failure(&format!("redis-server ended with {status}"))),
            (None, Err(timeout)) => Err(self.failure(&timeout.to_string())),
            (None, Ok(())) => Ok(()),
        }
    }

    fn answers(&self) -> bool {
        self.connect()
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection))
            .is_ok()
    }

    fn failure(&self, what: &str) -> io::Error {
        io::Error::other(format!("region {}: {what}\n{}", self.settings.region, self.log_tail()))
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn connect(&self) -> redis::RedisResult<redis::Connection> {
        connect(self.address, REPLY)
    }

    /// Process id while the process lives.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends the process at once, as a power failure would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to shut down (SIGTERM) and waits for its end.
    pub fn stop(&mut self) -> Result<(), super::Timeout> {
        self.signal(libc::SIGTERM);
        self.await_end()
    }

    /// Waits until the process has ended by itself.
    pub fn await_end(&mut self) -> Result<(), super::Timeout> {
        let Some(child) = self.child.as_mut() else {
            return Ok(());
        };
        wait_for("the server's end", START, || child.try_wait().ok().flatten())?;
        self.child = None;
        Ok(())
    }

    /// Stops the process where it is (SIGSTOP): its sockets stay open and nothing is answered.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Undoes [`Server::freeze`].
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        if let Some(pid) = self.pid() {
            // SAFETY: the child is not reaped yet, so the id is still its own.
            unsafe { libc::kill(pid as libc::pid_t, signal) };
        }
    }

    pub fn log(&self) -> String {
        let read = |name| fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("output"), read(LOG)].concat()).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of region {} ---\n{}", self.settings.region, self.log_tail());
        }
        self.kill();
    }
}

/// Connects a client that gives up on a reply after `patience`.
pub fn connect(address: SocketAddr, patience: Duration) -> redis::RedisResult<redis::Connection> {
    let client = redis::Client::open((address.ip().to_string(), address.port()))?;
    let connection = client.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    Ok(connection)
}

/// The kernel kills the process when we end, however we end.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let arrange = move || {
        // SAFETY: plain system calls, allowed between fork and exec.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have ended before the request was made.
            if libc::getppid() as u32 != parent {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls; it takes no lock and does not allocate on success.
    unsafe { command.pre_exec(arrange) };
}
