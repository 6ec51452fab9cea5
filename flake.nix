{
  description = "MollySocket: wakes Molly (Signal for Android) through UnifiedPush";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem =
        f: lib.genAttrs systems (system: f (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
    in
    {
      overlays.default = final: _prev: { mollysocket = final.callPackage ./package.nix { }; };

      packages = eachSystem (
        pkgs:
        import ./nix/packages.nix { inherit pkgs; }
        // {
          inherit (pkgs) mollysocket;
          default = pkgs.mollysocket;
        }
      );

      apps = eachSystem (
        pkgs:
        let
          app = package: {
            type = "app";
            program = lib.getExe package;
            meta = { inherit (package.meta) description; };
          };
        in
        {
          default = app pkgs.mollysocket;
          demo = app self.packages.${pkgs.stdenv.hostPlatform.system}.demo;
        }
      );

      nixosModules = {
        default = self.nixosModules.mollysocket;
        mollysocket =
          { pkgs, lib, ... }:
          {
            imports = [ ./nixos-module.nix ];
            services.mollysocket.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          };
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ pkgs.mollysocket ];
          packages = with pkgs; [
            clippy
            rustfmt
            rust-analyzer
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      checks = eachSystem (
        pkgs: import ./nix/checks.nix { inherit pkgs self; } // import ./tests-vm { inherit pkgs self; }
      );
    };
}
