# Evaluates ../../nixos-module.nix without nixpkgs, by a stand-in for the parts of lib and pkgs that it uses. What the
# stand-in does not know is an error, so it cannot hide one. Prints strict JSON:
#   nix-instantiate --eval --strict --json tests-vm/offline/render.nix --arg user '{ services.mollysocket.enable = true; }'
{
  user ? { },
  # Where the program is on the machine.
  program ? "/usr/local/bin/mollysocket",
  bin ? "/usr/bin",
}:
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isString
    length
    listToAttrs
    map
    mapAttrs
    replaceStrings
    stringLength
    substring
    toJSON
    ;

  # --- types -------------------------------------------------------------------------------------------------------
  type = name: check: { inherit name check; };
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  types = {
    str = type "string" isString;
    bool = type "boolean" isBool;
    port = type "port" (x: isInt x && x >= 0 && x <= 65535);
    ints.unsigned = type "natural number" (x: isInt x && x >= 0);
    path = type "path" (x: hasPrefix "/" (toString x));
    package = type "package" (x: x ? outPath);
    enum = values: type (concatStringsSep " or " (map toJSON values)) (x: elem x values);
    listOf = t: type "list of ${t.name}s" (x: isList x && all t.check x);
    nullOr = t: type "${t.name} or null" (x: x == null || t.check x);
    submodule = sub: type "attribute set" isAttrs // { inherit sub; };
    attrsOf = t: type "attribute set of daemons" isAttrs // { each = t; };
  };

  # --- lib ---------------------------------------------------------------------------------------------------------
  marked = kind: content: { _type = kind; } // content;
  lib = {
    inherit types hasPrefix;
    mkOption = marked "option";
    mkEnableOption = what: lib.mkOption { type = types.bool; default = false; description = "Whether to run ${what}."; };
    mkPackageOption = set: name: _: lib.mkOption { type = types.package; default = set.${name}; description = "The package to run."; };
    mkIf = condition: content: marked "if" { inherit condition content; };
    mkMerge = contents: marked "merge" { inherit contents; };
    mkDefault = content: marked "override" { priority = 1000; inherit content; };
    literalExpression = text: text;
    optionalAttrs = condition: set: if condition then set else { };
    filterAttrs = keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    removePrefix = prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
    removeSuffix =
      suffix: text:
      let
        n = stringLength text - stringLength suffix;
      in
      if n >= 0 && substring n (-1) text == suffix then substring 0 n text else text;
    escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
  };

  # --- merging of definitions ----------------------------------------------------------------------------------------
  # Conditions, merges and priorities become a list of { priority, value }.
  discharge =
    priority: definition:
    let
      kind = if isAttrs definition then definition._type or "" else "";
    in
    if kind == "if" then
      (if definition.condition then discharge priority definition.content else [ ])
    else if kind == "merge" then
      concatLists (map (discharge priority) definition.contents)
    else if kind == "override" then
      discharge definition.priority definition.content
    else
      [
        {
          inherit priority;
          value = definition;
        }
      ];
  plain = x: isAttrs x && !(x ? _type) && !(x ? outPath);
  merge =
    path: definitions:
    let
      least = foldl' (a: d: if d.priority < a then d.priority else a) 9999 definitions;
      values = map (d: d.value) (filter (d: d.priority == least) definitions);
    in
    if all (d: plain d.value) definitions then
      mergeSets path definitions
    else if all isList values then
      concatLists values
    else if all (value: value == head values) values then
      head values
    else if all isString values && path != [ ] && elemAt path (length path - 1) == "extraConfig" then
      # Of the type `lines`.
      concatStringsSep "\n" values
    else
      throw "conflicting definitions of ${concatStringsSep "." path}";
  mergeSets =
    path: definitions:
    let
      names = attrNames (foldl' (a: d: a // d.value) { } definitions);
      at = name: concatLists (map (d: if d.value ? ${name} then discharge d.priority d.value.${name} else [ ]) definitions);
      entry =
        name:
        let
          found = at name;
        in
        if found == [ ] then [ ] else [ { inherit name; value = merge (path ++ [ name ]) found; } ];
    in
    listToAttrs (concatLists (map entry names));

  # --- option values: what the user wrote, checked, with defaults ------------------------------------------------------
  isOption = x: (x._type or "") == "option";
  shown = path: concatStringsSep "." path;
  valueOf =
    path: option: given:
    let
      value = if given == null then option.default or (throw "${shown path}: no value") else given.value;
    in
    if option.type ? sub then
      (if isAttrs value then valuesOf path option.type.sub value else throw "${shown path}: not an attribute set")
    else if option.type ? each then
      mapAttrs (name: one: valueOf (path ++ [ name ]) { type = option.type.each; } { value = one; }) value
    else if option.type.check value then
      value
    else
      throw "${shown path}: not a ${option.type.name}";
  valuesOf =
    path: module: given:
    let
      free = module ? freeformType;
      options = if module ? options then module.options else module;
      unknown = filter (name: !(options ? ${name})) (attrNames given);
      known = mapAttrs (
        name: option:
        if isOption option then
          valueOf (path ++ [ name ]) option (if given ? ${name} then { value = given.${name}; } else null)
        else
          valuesOf (path ++ [ name ]) option (given.${name} or { })
      ) options;
    in
    if unknown != [ ] && !free then throw "the option ${shown (path ++ [ (head unknown) ])} does not exist" else given // known;

  # --- pkgs ------------------------------------------------------------------------------------------------------------
  quoted = toJSON;
  toml = value: if isBool value then (if value then "true" else "false") else if isList value then "[${concatStringsSep ", " (map toml value)}]" else if isString value then quoted value else toString value;
  script = name: path: text: { outPath = path; inherit name; content = "#!/bin/bash\n${text}"; };
  pkgs = {
    formats.toml = _: {
      type = types.submodule { };
      generate = name: settings: {
        outPath = "/generated/${name}";
        content = concatStringsSep "" (map (key: "${key} = ${toml settings.${key}}\n") (attrNames settings));
      };
    };
    coreutils = dirOf bin;
    systemd = dirOf bin;
    runCommand = name: _: command: { outPath = "/generated/${name}"; inherit command; };
    writeShellScript = name: text: script name "/usr/local/lib/${name}" text;
    writeShellScriptBin = name: text: script name "/usr/local/bin/${name}" text;
    mollysocket = {
      outPath = dirOf (dirOf program);
      meta.mainProgram = baseNameOf program;
    };
  };

  # --- evaluation ------------------------------------------------------------------------------------------------------
  written = merge [ ] (discharge 100 user);
  module = import ../../nixos-module.nix {
    inherit lib pkgs;
    config.services.mollysocket = values;
  };
  declared = module.options.services.mollysocket;
  values = valuesOf [ "services" "mollysocket" ] declared (written.services.mollysocket or { });
  final = merge [ ] (discharge 100 module.config);
  failed = filter (a: !a.assertion) (final.assertions or [ ]);

  # --- output ----------------------------------------------------------------------------------------------------------
  scalar = value: if isBool value then (if value then "true" else "false") else toString value;
  section = set: concatStringsSep "" (concatLists (map (key: map (value: "${key}=${scalar value}\n") (if isList set.${key} then set.${key} else [ set.${key} ])) (attrNames set)));
  words = concatStringsSep " ";
  unit = u: ''
    [Unit]
    Description=${u.description}
    Documentation=${words u.documentation}
    After=${words u.after}
    Wants=${words u.wants}
    StartLimitIntervalSec=${toString u.startLimitIntervalSec}

    [Service]
    ${section { Environment = map (key: toJSON "${key}=${u.environment.${key}}") (attrNames u.environment); }}${section u.serviceConfig}
    [Install]
    WantedBy=${words u.wantedBy}
  '';
  documented =
    path: options:
    concatLists (
      map (
        name:
        let
          o = options.${name};
          here = path ++ [ name ];
        in
        if !isOption o then
          documented here o
        else if o.type ? sub then
          documented here o.type.sub.options
        else
          [
            {
              name = shown here;
              type = o.type.name;
              inherit (o) description;
              default = o.defaultText or (if o.type.name == "package" then "this project's" else toJSON o.default);
            }
          ]
      ) (attrNames options)
    );
  # The module's virtual hosts and what the machine's own configuration adds to them.
  virtualHosts =
    proxy:
    (merge [ ] (concatLists (
      map (config: discharge 100 { services.${proxy} = config.services.${proxy} or { }; }) [ final written ]
    ))).services.${proxy}.virtualHosts or { };
  server = name: host: ''
    server {
      listen 443 ssl;
      server_name ${name};
      ssl_certificate ${host.sslCertificate or "/var/lib/acme/${name}/fullchain.pem"};
      ssl_certificate_key ${host.sslCertificateKey or "/var/lib/acme/${name}/key.pem"};
      ${concatStringsSep "" (attrValues (mapAttrs location host.locations))}
    }
  '';
  rulesOf = kind: map (rule: { inherit (rule) groups; commands = map (c: c.command) rule.commands; }) (final.security.${kind}.extraRules or [ ]);
  location = path: l: ''
    location ${path} {
      proxy_pass ${l.proxyPass};
      ${l.extraConfig}
    }
  '';
in
{
  options = documented [ "services" "mollysocket" ] declared;
  instance = mapAttrs (_: o: isOption o && o.default or null == true) declared.instances.type.each.sub.options;
}
// (
  if failed != [ ] then
    throw (concatStringsSep "\n" (map (a: a.message) failed))
  else
    {
      units = mapAttrs (_: unit) (final.systemd.services or { });
      triggers = mapAttrs (_: u: { inherit (u) reloadTriggers restartTriggers; }) (final.systemd.services or { });
      files =
        mapAttrs (_: file: file.source.content) (final.environment.etc or { })
        // listToAttrs (map (s: { name = s.outPath; value = s.content; }) (concatLists (map (s: if s ? asService then [ s s.asService s.withWords ] else [ ]) (final.environment.systemPackages or [ ]))));
      sudo = rulesOf "sudo";
      sudoRs = rulesOf "sudo-rs";
      firewall = final.networking.firewall.allowedTCPPorts or [ ];
      nginx = concatStringsSep "" (attrValues (mapAttrs server (virtualHosts "nginx")));
      caddy = virtualHosts "caddy";
      pages = map (p: p.command) (filter (p: p ? command) (final.environment.systemPackages or [ ]));
      warnings = final.warnings or [ ];
    }
)
