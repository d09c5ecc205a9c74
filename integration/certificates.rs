//! `geoctl certs`: what it makes, and that it never overwrites.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use redis_geo::certificates::{Authority, Error, Files, Request, authority_certificate, check};
use x509_parser::prelude::*;

fn request(region: &str) -> Request {
    Request {
        region: region.into(),
        names: vec!["db.example.org".into(), "10.1.2.3".into()],
        days: 30,
    }
}

fn geoctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_geoctl"))
        .args(arguments)
        .output()
        .expect("geoctl runs")
}

fn with_certificate<T>(path: &Path, read: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = parse_x509_pem(&fs::read(path).unwrap()).unwrap();
    read(&pem.parse_x509().unwrap())
}

#[test]
fn a_region_gets_a_certificate_for_both_ends_signed_by_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, made) = Authority::open_or_create(directory.path(), 30).unwrap();
    assert!(made);
    let files = authority.issue(directory.path(), &[request("eu")]).unwrap().remove(0);

    with_certificate(&files.certificate, |leaf| {
        let names: Vec<String> = leaf
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .iter()
            .map(|name| name.to_string())
            .collect();
        assert!(
            names[0].contains("eu") && names[1].contains("db.example.org"),
            "{names:?}"
        );
        assert_eq!(names.len(), 3);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
        assert!(!leaf.is_ca());
        with_certificate(&authority_certificate(directory.path()), |ca| {
            assert!(ca.is_ca());
            assert_eq!(leaf.issuer(), ca.subject());
        });
    });
}

#[test]
fn private_keys_are_readable_by_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::open_or_create(directory.path(), 30).unwrap();
    let files = authority.issue(directory.path(), &[request("eu")]).unwrap().remove(0);
    for key in [files.key, Files::of(directory.path(), "ca").key] {
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            key.display()
        );
    }
}

#[test]
fn an_authority_is_used_again_and_a_certificate_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::open_or_create(directory.path(), 30).unwrap();
    authority.issue(directory.path(), &[request("eu")]).unwrap();
    let before = fs::read(authority_certificate(directory.path())).unwrap();

    let (again, made) = Authority::open_or_create(directory.path(), 30).unwrap();
    assert!(!made);
    let refused = again.issue(directory.path(), &[request("us"), request("eu")]);
    assert!(matches!(refused, Err(Error::Exists(_))));
    assert!(!Files::of(directory.path(), "us").key.exists(), "all or none");
    again.issue(directory.path(), &[request("us")]).unwrap();
    assert_eq!(fs::read(authority_certificate(directory.path())).unwrap(), before);
    with_certificate(&Files::of(directory.path(), "us").certificate, |leaf| {
        with_certificate(&authority_certificate(directory.path()), |ca| {
            assert_eq!(leaf.issuer(), ca.subject())
        });
    });
}

#[test]
fn an_authority_with_a_missing_or_foreign_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    Authority::open_or_create(directory.path(), 30).unwrap();
    Authority::open_or_create(other.path(), 30).unwrap();
    let key = Files::of(directory.path(), "ca").key;

    fs::copy(Files::of(other.path(), "ca").key, &key).unwrap();
    assert!(matches!(
        Authority::open_or_create(directory.path(), 30),
        Err(Error::ForeignKey(_))
    ));
    fs::remove_file(&key).unwrap();
    assert!(matches!(
        Authority::open_or_create(directory.path(), 30),
        Err(Error::IncompleteAuthority { .. })
    ));
}

#[test]
fn names_that_no_certificate_can_carry_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "",
        "ca",
        "EU",
        "-eu",
        "eu-",
        "e u",
        "e/u",
        "../eu",
        "eü",
        &"x".repeat(64),
    ] {
        let refused = check(directory.path(), &[request(name)]);
        assert!(matches!(refused, Err(Error::RegionName(_))), "{name:?}");
    }
    assert!(check(directory.path(), &[request("eu-west-1")]).is_ok());
}

#[test]
fn the_command_says_what_it_made_and_why_it_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certificates");
    let path = path.to_str().unwrap();
    let made = geoctl(&[
        "certs",
        "--dir",
        path,
        "--region",
        "eu",
        "--region",
        "us",
        "--name",
        "us=us.example.org",
    ]);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(
        said.contains("eu.crt") && said.contains("us.crt") && said.contains("ca.crt"),
        "{said}"
    );

    let refused = geoctl(&["certs", "--dir", path, "--region", "eu"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("eu.crt") && why.contains("not overwritten"), "{why}");

    let unknown = geoctl(&["certs", "--dir", path, "--region", "ap", "--name", "zz=example.org"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(!Path::new(path).join("ap.crt").exists());
}
