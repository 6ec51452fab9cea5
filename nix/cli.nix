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
  # Run by root with the PATH of whoever called sudo: every program in it is named by its whole path. What follows `--` is
  # the program's, so no argument can change the sandbox. The service manager puts variables into arguments, but not for $$.
  # The service's runtime directory, where the admin socket is, is only named: were it declared as the command's, too, the
  # service manager would move it, and refuse every command after the next restart of the service.
  asService = pkgs.writeShellScript "${unit}-as-service" ''
    exec ${pkgs.systemd}/bin/systemd-run --quiet --pipe --wait --collect --service-type=exec \
      --setenv=MOLLY_CONF=${lib.escapeShellArg configPath} \
      --setenv=RUNTIME_DIRECTORY=${lib.escapeShellArg "/run/${unit}"} \
      ${builtins.concatStringsSep " \\\n  " arguments} \
      -- ${program} "''${@//\$/\$\$}"
  '';
  command = pkgs.writeShellScriptBin unit ''
    case "''${1-} ''${2-}" in
      # These need neither configuration nor state.
      --version* | -V* | --help* | -h* | help* | "server --help" | "server -h" | "vapid generate") exec ${program} "$@" ;;
    esac
    case " $* " in
      # It would be a second daemon on the same database.
      *" server "*)
        echo "${unit} server: the service is this daemon; see systemctl status ${unit}" >&2
        exit 2
        ;;
    esac
    if [ "$EUID" -eq 0 ]; then
      exec ${asService} "$@"
    fi
    # A member of the administrators' group is not asked for a password.
    exec sudo ${asService} "$@"
  '' // { inherit asService; };
}
