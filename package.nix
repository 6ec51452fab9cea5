{
  lib,
  rustPlatform,
  installShellFiles,
  pkg-config,
  sqlite,
  util-linux,
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
      ./SECURITY.md
      ./bench
      ./certs
      ./clippy.toml
      ./config-sample.toml
      ./docs
      ./examples
      ./load
      ./packaging
      ./rustfmt.toml
      ./sim
      ./src
      ./tests
      ./tests-vm/scenarios
    ];
  };
  cargoLock.lockFile = ./Cargo.lock;
  nativeBuildInputs = [
    installShellFiles
    pkg-config
  ];
  buildInputs = [ sqlite ];
  # The system's SQLite instead of the bundled one.
  buildNoDefaultFeatures = true;
  buildFeatures = [ "rustls" ];
  # The tests are many programs; with the release's optimisation over all crates each would take minutes to build.
  checkType = "debug";
  cargoTestFlags = [ "--workspace" ];
  # Some tests open thousands of sockets; the usual soft limit is 1024.
  preCheck = "ulimit -S -n $(ulimit -H -n)";
  # kill and prlimit.
  nativeCheckInputs = [ util-linux ];
  # It mounts a file system, which the sandbox does not allow.
  checkFlags = [ "--skip=a_full_disk_stops_registrations_and_nothing_else" ];
  postInstall = ''
    installManPage packaging/mollysocket.1
    installShellCompletion --bash packaging/completions/mollysocket.bash \
      --zsh packaging/completions/_mollysocket \
      --fish packaging/completions/mollysocket.fish
  '';
  meta = {
    inherit (cargo) description;
    homepage = "https://github.com/mollyim/mollysocket";
    license = lib.licenses.agpl3Plus;
    mainProgram = "mollysocket";
    platforms = lib.platforms.linux;
  };
}
