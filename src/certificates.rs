//! A private certificate authority and the certificates of regions, as PEM files in one directory.
//!
//! A region's certificate names the region as a DNS name (the name its peers verify) and may be used by both ends of
//! a link, because every region dials and is dialed. Nothing is ever overwritten: a lost CA key would mean a new
//! certificate for every region.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

const CA: &str = "ca";
/// A certificate is valid from a little before it was made: clocks of regions differ.
const BACKDATED: Duration = Duration::hours(1);

/// Where one certificate and its private key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// The files of a region in `directory`: `NAME.crt` and `NAME.key`.
    pub fn of(directory: &Path, name: &str) -> Files {
        Files {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        }
    }

    fn exist(&self) -> (bool, bool) {
        (self.certificate.exists(), self.key.exists())
    }
}

/// The authority's certificate in `directory`, which every region needs.
pub fn authority_certificate(directory: &Path) -> PathBuf {
    Files::of(directory, CA).certificate
}

/// What a region's certificate says.
#[derive(Clone, Debug)]
pub struct Request {
    pub region: String,
    /// Further DNS names or IP addresses it is valid for.
    pub names: Vec<String>,
    pub days: u32,
}

#[derive(Debug)]
pub enum Error {
    File {
        path: PathBuf,
        source: io::Error,
    },
    /// The region has a certificate or a key already.
    Exists(PathBuf),
    /// Certificate or key of the authority is there without the other.
    IncompleteAuthority {
        present: PathBuf,
        missing: PathBuf,
    },
    /// The authority's key does not belong to its certificate.
    ForeignKey(Files),
    RegionName(String),
    Certificate {
        what: String,
        source: rcgen::Error,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Exists(path) => {
                write!(
                    f,
                    "{} exists and is not overwritten: move it away to make a new one",
                    path.display()
                )
            }
            Error::IncompleteAuthority { present, missing } => write!(
                f,
                "{} exists but {} does not: put it back, or use another directory for a new authority",
                present.display(),
                missing.display()
            ),
            Error::ForeignKey(files) => {
                write!(
                    f,
                    "{} is not the key of {}",
                    files.key.display(),
                    files.certificate.display()
                )
            }
            Error::RegionName(name) => write!(
                f,
                "'{name}' cannot be a region's name: 1 to 63 characters a-z, 0-9 or '-', not '-' at either end, \
                 and not '{CA}'"
            ),
            Error::Certificate { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// Signs certificates of regions.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority in `directory`, or makes one that is valid for `days`. True when it was made.
    pub fn open_or_create(directory: &Path, days: u32) -> Result<(Authority, bool), Error> {
        let files = Files::of(directory, CA);
        match files.exist() {
            (true, true) => Ok((Authority::open(&files)?, false)),
            (false, false) => Ok((Authority::create(directory, &files, days)?, true)),
            (true, false) => Err(Error::IncompleteAuthority {
                present: files.certificate,
                missing: files.key,
            }),
            (false, true) => Err(Error::IncompleteAuthority {
                present: files.key,
                missing: files.certificate,
            }),
        }
    }

    fn open(files: &Files) -> Result<Authority, Error> {
        let key = KeyPair::from_pem(&read(&files.key)?).map_err(invalid(&files.key))?;
        let pem = read(&files.certificate)?;
        if public_key(&pem).as_deref() != Some(key.public_key_raw()) {
            return Err(Error::ForeignKey(files.clone()));
        }
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(invalid(&files.certificate))?;
        Ok(Authority { issuer })
    }

    fn create(directory: &Path, files: &Files, days: u32) -> Result<Authority, Error> {
        let failed = |source| Error::Certificate {
            what: "certificate authority".into(),
            source,
        };
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "redis-geo certificate authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(days);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        fs::create_dir_all(directory).map_err(|source| Error::File {
            path: directory.into(),
            source,
        })?;
        write_new(files, &certificate.pem(), &key.serialize_pem())?;
        Ok(Authority {
            issuer: Issuer::new(params, key),
        })
    }

    /// Makes the certificates of regions, all or none: names and files are checked before the first is written.
    pub fn issue(&self, directory: &Path, requests: &[Request]) -> Result<Vec<Files>, Error> {
        check(directory, requests)?;
        requests
            .iter()
            .map(|request| self.issue_one(directory, request))
            .collect()
    }

    fn issue_one(&self, directory: &Path, request: &Request) -> Result<Files, Error> {
        let failed = |source| Error::Certificate {
            what: format!("certificate of {}", request.region),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params(request)
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .map_err(failed)?;
        let files = Files::of(directory, &request.region);
        write_new(&files, &certificate.pem(), &key.serialize_pem())?;
        Ok(files)
    }
}

/// Names and files that [`Authority::issue`] would refuse.
pub fn check(directory: &Path, requests: &[Request]) -> Result<(), Error> {
    for request in requests {
        if !valid_region(&request.region) {
            return Err(Error::RegionName(request.region.clone()));
        }
        params(request).map_err(|source| Error::Certificate {
            what: format!("names of {}", request.region),
            source,
        })?;
        let files = Files::of(directory, &request.region);
        if let Some(path) = [&files.certificate, &files.key].into_iter().find(|path| path.exists()) {
            return Err(Error::Exists(path.clone()));
        }
    }
    Ok(())
}

/// A region's name is a DNS label in lower case, and the file of the authority is not a region's.
fn valid_region(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-') && name != CA
}

fn params(request: &Request) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec![request.region.clone()];
    names.extend(request.names.iter().cloned());
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, request.region.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(request.days);
    Ok(params)
}

fn validity(days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATED, now + Duration::days(days.into()))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        path: path.into(),
        source,
    })
}

/// The public key in a PEM certificate; `None` when it is not a certificate.
fn public_key(pem: &str) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    Some(pem.parse_x509().ok()?.public_key().subject_public_key.data.to_vec())
}

/// Writes the key first: a certificate without its key is never left behind. Only the owner can read the key.
fn write_new(files: &Files, certificate: &str, key: &str) -> Result<(), Error> {
    write_file(&files.key, key, 0o600)?;
    write_file(&files.certificate, certificate, 0o644)
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.into()),
        _ => Error::File {
            path: path.into(),
            source,
        },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn invalid(path: &Path) -> impl Fn(rcgen::Error) -> Error + '_ {
    |source| Error::Certificate {
        what: path.display().to_string(),
        source,
    }
}
