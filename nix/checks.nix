# Checks that need no machine.
{ pkgs, self }:
let
  inherit (pkgs) lib mollysocket;
  cargo =
    name: package: command:
    mollysocket.overrideAttrs (old: {
      pname = "mollysocket-${name}";
      nativeBuildInputs = old.nativeBuildInputs ++ [ package ];
      buildPhase = command;
      doCheck = false;
      installPhase = "touch $out";
    });
  evaluated = lib.evalModules {
    modules = [
      { _module.check = false; }
      self.nixosModules.default
    ];
    specialArgs = { inherit pkgs; };
  };
in
{
  package = mollysocket;
  clippy = cargo "clippy" pkgs.clippy "cargo clippy --offline --workspace --all-targets -- -D warnings";
  format = cargo "format" pkgs.rustfmt "cargo fmt --all --check";
  # Every option has a type and a description, or this fails.
  module-options-doc =
    (pkgs.nixosOptionsDoc { options = { inherit (evaluated.options.services) mollysocket; }; }).optionsCommonMark;
}
