//! Servers for comparing: a plain one, and one with the module and no peers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use redis_geo::lab::server::program;
use redis_geo::lab::{module, ports, wait_for};

pub const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of a server's log that a test shows when it fails.
const LAST: usize = 80;

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    pub port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    _owned: Option<tempfile::TempDir>,
}

impl Server {
    pub fn plain(arguments: &[&str]) -> Server {
        Server::start(arguments, &[])
    }

    /// Only its GEO commands replicate, so that native ones can prepare data and be compared with.
    pub fn geo(arguments: &[&str]) -> Server {
        Server::start(arguments, &["region", "eu", "transparent", "no"])
    }

    /// Its native commands on keys in `keys` replicate.
    pub fn transparent(keys: &str) -> Server {
        Server::start(&[], &["region", "eu", "keys", keys])
    }

    /// `module`: arguments of the module beside certificates; none: no module.
    pub fn start(arguments: &[&str], module: &[&str]) -> Server {
        let owned = tempfile::tempdir().expect("a directory");
        let directory = owned.path().to_owned();
        let mut all: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        if !module.is_empty() {
            all.extend(load_arguments(module));
        }
        let mut server = Server::run(directory, all);
        server._owned = Some(owned);
        server
    }

    fn run(directory: PathBuf, arguments: Vec<String>) -> Server {
        for _ in 0..10 {
            let port = free_port();
            let child = launch(&directory, port, &arguments);
            let mut server = Server {
                child,
                port,
                directory: directory.clone(),
                arguments: arguments.clone(),
                _owned: None,
            };
            if server.wait() {
                return server;
            }
        }
        panic!("redis-server does not start:\n{}", log_of(&directory));
    }

    fn wait(&mut self) -> bool {
        until("redis-server answers", || {
            let gone = self.child.try_wait().expect("its state").is_some();
            (gone || self.answers()).then_some(!gone)
        })
    }

    /// Another server may have got the port first; or a connection finds itself there, when no server has it yet.
    fn answers(&self) -> bool {
        let own = format!("process_id:{}\r\n", self.child.id());
        let ask = || -> io::Result<Vec<u8>> {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            if stream.local_addr()? == stream.peer_addr()? {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = Vec::new();
            (&stream).write_all(b"PING\r\nINFO server\r\nQUIT\r\n")?;
            (&stream).read_to_end(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with(b"+PONG") && String::from_utf8_lossy(&answer).contains(&own))
    }

    pub fn client(&self) -> Client {
        Client::of(([127, 0, 0, 1], self.port).into())
    }

    /// A file of this server.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn log(&self) -> String {
        log_of(&self.directory)
    }

    /// Kills the process and starts it again on the same files, which it must refuse; gives its log.
    pub fn refuses_to_start(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.path("redis.log"));
        self.child = launch(&self.directory, self.port, &self.arguments);
        until("redis-server gives up", || self.child.try_wait().expect("its state"));
        self.log()
    }

    /// Kills the process and starts it again on the same files.
    pub fn restart(self) -> Server {
        self.restart_with(&[])
    }

    pub fn restart_with(mut self, further: &[&str]) -> Server {
        let owned = self._owned.take();
        let (directory, mut arguments) = (self.directory.clone(), self.arguments.clone());
        arguments.extend(further.iter().map(|one| (*one).to_owned()));
        drop(self);
        let mut server = Server::run(directory, arguments);
        server._owned = owned;
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("server at port {}:", self.port);
            lines[lines.len().saturating_sub(LAST)..]
                .iter()
                .for_each(|line| println!("{line}"));
        }
    }
}

/// The module's lines in the log of a server that it should refuse to be loaded in.
pub fn refused(arguments: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = launch(
        directory.path(),
        free_port(),
        &arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(),
    );
    until("redis-server gives up or is ready", || {
        let ready = log_of(directory.path()).contains("Ready to accept connections");
        (ready || child.try_wait().expect("its state").is_some()).then_some(())
    });
    let _ = child.kill();
    let _ = child.wait();
    let log = log_of(directory.path());
    log.lines()
        .filter_map(|line| line.split_once("<geo> "))
        .map(|(_, text)| text.to_owned())
        .collect()
}

fn launch(directory: &Path, port: u16, arguments: &[String]) -> Child {
    // A configuration file comes first, so that arguments go before its lines.
    let (file, arguments) =
        arguments.split_at(usize::from(arguments.first().is_some_and(|one| one.ends_with(".conf"))));
    Command::new(program())
        .current_dir(directory)
        .args(file)
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--logfile",
            "redis.log",
            "--save",
            "",
        ])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program().display()))
}

fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("redis.log")).unwrap_or_default()
}

/// For TCP and UDP.
pub fn free_port() -> u16 {
    ports::free().port()
}

/// `--loadmodule` with certificates for the regions eu and us.
pub fn load_arguments(module: &[&str]) -> Vec<String> {
    let mut all = vec![
        "--loadmodule".to_owned(),
        module::built().to_string_lossy().into_owned(),
    ];
    for (name, value) in [("certificate", "leaf.pem"), ("key", "leaf.key"), ("ca", "ca.pem")] {
        all.extend([name.to_owned(), certificate(value)]);
    }
    if !module.contains(&"listen") {
        all.extend(["listen".to_owned(), "127.0.0.1:0".to_owned()]);
    }
    all.extend(module.iter().map(|one| (*one).to_owned()));
    all
}

/// Path of one of the files that all servers here share; they are made once.
pub fn certificate(name: &str) -> String {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = scratch.join("regions-eu-us");
    if !directory.exists() {
        let fresh = tempfile::tempdir_in(scratch).expect("a directory");
        write_certificates(fresh.path());
        // When another test is first, its files are as good.
        let _ = std::fs::rename(fresh.path(), &directory);
    }
    directory.join(name).to_string_lossy().into_owned()
}

fn write_certificates(directory: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(vec!["eu".to_owned(), "us".to_owned()]).expect("parameters");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pem = leaf
        .signed_by(&key, &Issuer::new(ca, ca_key))
        .expect("a certificate")
        .pem();
    for (name, text) in [("ca.pem", ca_pem), ("leaf.pem", pem), ("leaf.key", key.serialize_pem())] {
        std::fs::write(directory.join(name), text).expect("a file");
    }
}

/// Polls until there is an answer; fails loudly when there is none in time.
pub fn until<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    wait_for(what, PATIENCE, poll).unwrap_or_else(|timeout| panic!("{timeout}"))
}

/// The bulk strings of a reply, nested ones included.
pub fn strings(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = reply;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (head, tail) = rest.split_at(end + 1);
        rest = tail;
        let length = std::str::from_utf8(&head[1..])
            .ok()
            .and_then(|text| text.trim_end().parse::<usize>().ok());
        if let (b'$', Some(length)) = (head[0], length) {
            found.push(rest[..length].to_vec());
            rest = &rest[length + 2..];
        }
    }
    found
}

/// A client that shows replies as the bytes they came in.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn of(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub fn command(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        self.send(arguments);
        self.reply()
    }

    pub fn text(&mut self, line: &str) -> Vec<u8> {
        self.command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    pub fn send(&mut self, arguments: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.reader
            .get_mut()
            .write_all(&bytes)
            .expect("the server takes the command");
    }

    /// One whole reply.
    pub fn reply(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read(&mut bytes);
        bytes
    }

    fn read(&mut self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        self.reader.read_until(b'\n', bytes).expect("a reply");
        assert!(bytes.len() > start, "the server has closed the connection");
        let head = String::from_utf8_lossy(&bytes[start..]).trim_end().to_owned();
        let count: i64 = head[1..].parse().unwrap_or(-1);
        match head.as_bytes()[0] {
            b'$' | b'=' | b'!' if count >= 0 => {
                let mut body = vec![0; count as usize + 2];
                self.reader.read_exact(&mut body).expect("the rest of a reply");
                bytes.extend(body);
            }
            b'*' | b'~' | b'>' => (0..count).for_each(|_| self.read(bytes)),
            b'%' => (0..2 * count).for_each(|_| self.read(bytes)),
            _ => {}
        }
    }
}
