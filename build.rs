//! Stops with a sentence when the system's SQLite is too old to be linked, which the linker would say in symbols.

/// The first version with all functions that rusqlite 0.41 calls: `sqlite3_set_clientdata` is the youngest
/// (<https://www.sqlite.org/releaselog/3_44_0.html>).
const MINIMUM: [u32; 3] = [3, 44, 0];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_BUNDLED_SQLITE").is_some() {
        return;
    }
    let [major, minor, patch] = MINIMUM;
    let needed =
        format!("{major}.{minor}.{patch} or newer is needed; to build SQLite in, enable the feature `bundled-sqlite`");
    // SQLITE3_NO_PKG_CONFIG, for who knows better, ends here as well.
    match pkg_config::Config::new().cargo_metadata(false).probe("sqlite3") {
        Ok(found) if numbers(&found.version) < MINIMUM => {
            println!("cargo::error=the system's SQLite is {}, but {needed}", found.version);
        }
        Ok(_) | Err(pkg_config::Error::EnvNoPkgConfig(_)) => {}
        Err(_) => println!("cargo::warning=pkg-config does not tell the version of the system's SQLite: {needed}"),
    }
}

/// Major, minor and patch.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}
