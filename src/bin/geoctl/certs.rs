//! `geoctl certs`: a certificate authority and the certificates of regions.

use std::path::PathBuf;

use redis_geo::certificates::{Authority, Files, Request, authority_certificate, check};

use crate::Result;

/// Make a private certificate authority (or use the one that is there) and a certificate for each region.
///
/// Existing files are never overwritten. Copy ca.crt and a region's own .crt and .key to its server, and keep ca.key
/// where no server is.
#[derive(clap::Args)]
pub struct Arguments {
    /// Directory of the files; made when missing.
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// A region to make a certificate for; repeatable.
    #[arg(long = "region", value_name = "NAME", required = true)]
    regions: Vec<String>,
    /// A further DNS name or IP address for a region's certificate; repeatable.
    #[arg(long = "name", value_name = "REGION=NAME")]
    names: Vec<String>,
    /// Days that the regions' certificates are valid.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Days that a new authority is valid.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    ca_days: u32,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let requests = requests(arguments)?;
    check(&arguments.dir, &requests)?;
    let (authority, made) = Authority::open_or_create(&arguments.dir, arguments.ca_days)?;
    let ca = authority_certificate(&arguments.dir);
    println!(
        "{} certificate authority {}",
        if made { "made" } else { "used" },
        ca.display()
    );
    for (request, Files { certificate, key }) in requests.iter().zip(authority.issue(&arguments.dir, &requests)?) {
        println!(
            "made region {}: {} and {}",
            request.region,
            certificate.display(),
            key.display()
        );
    }
    Ok(())
}

fn requests(arguments: &Arguments) -> Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    for region in &arguments.regions {
        if requests.iter().any(|request| request.region == *region) {
            return Err(format!("--region {region} is given twice").into());
        }
        requests.push(Request {
            region: region.clone(),
            names: Vec::new(),
            days: arguments.days,
        });
    }
    for pair in &arguments.names {
        let (region, name) = pair
            .split_once('=')
            .ok_or_else(|| format!("--name {pair} is not REGION=NAME"))?;
        let request = requests.iter_mut().find(|request| request.region == region);
        let request = request.ok_or_else(|| format!("--name {pair}: there is no --region {region}"))?;
        request.names.push(name.into());
    }
    Ok(requests)
}
