//! Where the built module is.

use std::env;
use std::path::PathBuf;

const NAME: &str = "libredis_geo.so";

/// The module that tests and benches load: `REDIS_GEO_MODULE`, or else the one that `cargo build` put into the target
/// directory of the running executable.
///
/// # Panics
/// When there is none: it says how to build it.
pub fn built() -> PathBuf {
    let beside = || {
        env::current_exe()
            .ok()?
            .parent()?
            .parent()
            .map(|directory| directory.join(NAME))
    };
    let module = env::var_os("REDIS_GEO_MODULE")
        .map(PathBuf::from)
        .or_else(beside)
        .unwrap_or_default();
    let found = std::path::absolute(&module).ok().filter(|module| module.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no module at '{}': run `cargo build --features geoctl` or set REDIS_GEO_MODULE",
            module.display()
        )
    })
}
