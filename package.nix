{
  lib,
  rustPlatform,
  pkg-config,
  sqlite,
}:
let
  cargo = (lib.importTOML ./Cargo.toml).package;
in
rustPlatform.buildRustPackage {
  pname = cargo.name;
  inherit (cargo) version;
  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./Cargo.toml
      ./Cargo.lock
      ./README.md
      ./certs
      ./clippy.toml
      ./config-sample.toml
      ./examples
      ./load
      ./rustfmt.toml
      ./sim
      ./src
      ./tests
    ];
  };
  cargoLock.lockFile = ./Cargo.lock;
  nativeBuildInputs = [ pkg-config ];
  buildInputs = [ sqlite ];
  # The system's SQLite instead of the bundled one.
  buildNoDefaultFeatures = true;
  buildFeatures = [ "rustls" ];
  meta = {
    inherit (cargo) description;
    homepage = "https://github.com/mollyim/mollysocket";
    license = lib.licenses.agpl3Plus;
    mainProgram = "mollysocket";
    platforms = lib.platforms.linux;
  };
}
