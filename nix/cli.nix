# The command `mollysocket` (or `mollysocket-<name>`) of a daemon: the program with the daemon's configuration, database
# and key, as the daemon's own user and in a sandbox, so that Molly's clipboard line works as pasted.
{ lib, pkgs }:
{
  unit,
  configPath,
  package,
  properties,
}:
let
  program = lib.getExe package;
  state = "/var/lib/${unit}";
  fixed = {
    DynamicUser = "yes";
    User = unit;
    StateDirectory = unit;
    StateDirectoryMode = "0700";
    WorkingDirectory = state;
    UMask = "0077";
    NoNewPrivileges = "yes";
    PrivateDevices = "yes";
    PrivateUsers = "yes";
    ProtectSystem = "strict";
    ProtectHome = "yes";
    ProtectProc = "invisible";
    RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX";
    RestrictNamespaces = "yes";
    SystemCallFilter = "@system-service";
  };
  all = fixed // properties;
  arguments = builtins.concatLists (
    map (
      name:
      let
        values = if builtins.isList all.${name} then all.${name} else [ all.${name} ];
      in
      map (value: "--property=${lib.escapeShellArg "${name}=${value}"}") values
    ) (builtins.attrNames all)
  );
in
rec {
  # The words of a command hold a password and the path of an endpoint. As arguments of sudo or of a unit they would be in
  # the journal, so they come on the first line of the standard input, encoded. What follows is the program's own input.
  withWords = pkgs.writeShellScript "${unit}-with-words" ''
    IFS= read -r line
    mapfile -d "" -t words < <(printf %s "$line" | ${pkgs.coreutils}/bin/base64 -d)
    exec ${program} "''${words[@]}"
  '';
  # Run by root with the PATH of whoever called sudo: every program in it is named by its whole path, and no word of theirs
  # is among its arguments.
  # The service's runtime directory, where the admin socket is, is only named: were it declared as the command's, too, the
  # service manager would move it, and refuse every command after the next restart of the service.
  asService = pkgs.writeShellScript "${unit}-as-service" ''
    exec ${pkgs.systemd}/bin/systemd-run --quiet --pipe --wait --collect --service-type=exec \
      --description=${lib.escapeShellArg "A command of ${unit}"} \
      --setenv=MOLLY_CONF=${lib.escapeShellArg configPath} \
      --setenv=RUNTIME_DIRECTORY=${lib.escapeShellArg "/run/${unit}"} \
      ${builtins.concatStringsSep " \\\n  " arguments} \
      -- ${withWords}
  '';
  command = pkgs.writeShellScriptBin unit ''
    case "''${1-} ''${2-}" in
      # These need neither configuration nor state.
      --version* | -V* | --help* | -h* | help* | "server --help" | "server -h" | "vapid generate") exec ${program} "$@" ;;
    esac
    input=/dev/null
    for word; do
      case $word in
        # It would be a second daemon on the same database. Verbs may be shortened.
        se | ser | serv | serve | server)
          echo "${unit} server: the service is this daemon; see systemctl status ${unit}" >&2
          exit 2
          ;;
        # The one verb that reads its standard input.
        i | im | imp | impo | impor | import) input=/dev/stdin ;;
      esac
    done
    words() { [ $# -eq 0 ] || printf '%s\0' "$@" | ${pkgs.coreutils}/bin/base64 -w 0; }
    exec < <(words "$@" && echo && exec ${pkgs.coreutils}/bin/cat "$input" 2>/dev/null)
    if [ "$EUID" -eq 0 ]; then
      exec ${asService}
    fi
    # A member of the administrators' group is not asked for a password.
    exec sudo ${asService}
  '' // { inherit asService withWords; };
}
