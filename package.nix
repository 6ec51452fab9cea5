{
  lib,
  rustPlatform,
  callPackage,
  installShellFiles,
  nix-update-script,
  pkg-config,
  sqlite,
  testers,
  util-linux,
}:
let
  cargo = (lib.importTOML ./Cargo.toml).package;
in
rustPlatform.buildRustPackage (finalAttrs: {
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
      ./build.rs
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
      ./xtask
    ];
  };

  cargoLock.lockFile = ./Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    pkg-config
  ];

  # The system's SQLite instead of the bundled one.
  buildInputs = [ sqlite ];
  buildNoDefaultFeatures = true;
  buildFeatures = [ "rustls" ];

  # The tests are many programs; with the release's optimisation over all crates each would take minutes to build.
  checkType = "debug";
  # The library's and the daemon's. Those of the other members are tools of developers.
  cargoTestFlags = [ "--tests" ];
  # Some tests open thousands of sockets; the usual soft limit is 1024.
  preCheck = "ulimit -S -n $(ulimit -H -n)";
  # kill and prlimit.
  nativeCheckInputs = [ util-linux ];
  checkFlags = [
    # It mounts a file system, which the sandbox does not allow.
    "--skip=a_full_disk_stops_registrations_and_nothing_else"
    # They run Python and the sqlite3 command beside the daemon.
    "--skip=other_programs_on_the_database_lose_no_registration"
    "--skip=only_sqlite_opens_the_database_and_its_locks_stay"
  ];

  postInstall = ''
    installManPage packaging/mollysocket.1
    installShellCompletion --bash packaging/completions/mollysocket.bash \
      --zsh packaging/completions/_mollysocket \
      --fish packaging/completions/mollysocket.fish
  '';

  passthru = {
    tests =
      lib.filterAttrs (_: lib.isDerivation) (
        callPackage ./tests-vm { mollysocket = finalAttrs.finalPackage; }
      )
      // {
        version = testers.testVersion { package = finalAttrs.finalPackage; };
      };
    updateScript = nix-update-script { };
  };

  meta = {
    inherit (cargo) description;
    homepage = cargo.repository;
    license = lib.licenses.agpl3Plus;
    # Whoever takes it into nixpkgs.
    maintainers = [ ];
    mainProgram = "mollysocket";
    platforms = lib.platforms.linux;
  };
})
