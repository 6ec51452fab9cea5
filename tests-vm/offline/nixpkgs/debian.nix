# What an evaluated NixOS machine takes from nixpkgs, as links to a booted Debian's own programs: /host is its root.
final: prev:
let
  linked =
    name: directory: tools: extra:
    final.runCommand name { passthru = extra; } ''
      mkdir -p $out/bin
      for tool in ${toString tools}; do ln -s /host${directory}/$tool $out/bin/$tool; done
      # As nginx and its list of types have them.
      mkdir $out/etc && ln -s /host/etc/nginx $out/etc/nginx && ln -s /host/etc/nginx $out/conf
    '';
  bin = name: tools: linked name "/usr/bin" tools { };
in
{
  # Packages that are looked at, and never built, ask for these.
  stdenv = prev.stdenv // {
    cc = prev.stdenv.cc // {
      inherit (prev.stdenv) cc;
    };
  };
  bash = linked "bash" "/usr/bin" [ "bash" ] { shellPath = "/bin/bash"; };
  runtimeShellPackage = final.bash;
  coreutils = bin "coreutils" [
    "base64"
    "cat"
    "kill"
  ];
  findutils = bin "findutils" [ ];
  gnugrep = bin "gnugrep" [ ];
  gnused = bin "gnused" [ ];
  glibcLocales = bin "locales" [ ];
  tzdata = bin "tzdata" [ ];
  mailcap = bin "mailcap" [ ];
  nginxStable = linked "nginx" "/usr/sbin" [ "nginx" ] {
    # That of the older Debian, so that nothing newer is configured.
    version = "1.22.1";
    pname = "nginx";
    modules = [ ];
    override = _: final.nginxStable;
  };
  # nginx' module compares its package with these.
  openresty = bin "openresty" [ ];
  nginxMainline = bin "nginx-mainline" [ ];
  caddy = bin "caddy" [ "caddy" ];
  util-linux = prev.util-linux // {
    lastlog = prev.util-linux;
  };
  systemd = linked "systemd" "/usr/bin" [ "systemd-run" ] (
    {
      inherit (final) kbd kmod util-linux;
      interfaceVersion = 2;
      version = "252";
    }
    # NixOS' modules ask what it was built with. The machine has Debian's own units of these.
    // final.lib.genAttrs [
      "withBootloader"
      "withCryptsetup"
      "withEfi"
      "withFido2"
      "withHostnamed"
      "withImportd"
      "withKmod"
      "withLocaled"
      "withLogind"
      "withMachined"
      "withNetworkd"
      "withNspawn"
      "withPortabled"
      "withRepart"
      "withSysupdate"
      "withTimedated"
      "withTpm2Tss"
      "withTpm2Units"
      "withUtmp"
    ] (_: false)
  );
}
