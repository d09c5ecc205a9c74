//! Certificates for tests.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    date_time_ymd,
};
use redis_geo::replication::transport::Settings;

/// A private CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What is wrong with a certificate, if anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    /// It may only be used by servers.
    ServerOnly,
}

impl Authority {
    pub fn new() -> Authority {
        // Ed25519 signatures all have one length: packet sizes repeat.
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes `region`'s certificate, key and this CA's certificate into `directory`; `names` are its SANs.
    pub fn issue(&self, directory: &Path, region: &str, names: &[&str], flaw: Flaw) -> Settings {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw != Flaw::ServerOnly {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if flaw == Flaw::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| directory.join(format!("{region}.{kind}"));
        fs::write(path("crt"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        fs::write(path("ca"), &self.pem).unwrap();
        Settings::new(region, path("crt"), path("key"), path("ca"))
    }

    /// Good settings for a region that listens on a free port of the loopback.
    pub fn region(&self, directory: &Path, region: &str) -> Settings {
        let mut settings = self.issue(directory, region, &[region], Flaw::None);
        settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
        settings
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }
}
