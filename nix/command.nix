# The command `mollysocket` (or `mollysocket-<name>`) of a daemon: the program with the daemon's configuration, database
# and key, as the daemon's own user and in a sandbox, so that Molly's clipboard line works as pasted.
{ lib, pkgs }:
{
  unit,
  package,
  # The daemon's unit, with what the user set in it.
  service,
}:
let
  program = lib.getExe package;
  # Of the daemon's sandbox what decides which files it sees, and as whom.
  shared =
    lib.getAttrs (lib.intersectLists (builtins.attrNames service.serviceConfig) [
      "BindPaths"
      "BindReadOnlyPaths"
      "DynamicUser"
      "EnvironmentFile"
      "Group"
      "LoadCredential"
      "LoadCredentialEncrypted"
      "NoNewPrivileges"
      "PrivateDevices"
      "PrivateUsers"
      "ProtectHome"
      "ProtectProc"
      "ProtectSystem"
      "ReadWritePaths"
      "RestrictAddressFamilies"
      "RestrictNamespaces"
      "StateDirectory"
      "StateDirectoryMode"
      "UMask"
      "User"
      "WorkingDirectory"
    ]) service.serviceConfig
    // {
      SystemCallFilter = "@system-service";
    };
  text = value: if builtins.isBool value then lib.boolToString value else toString value;
  properties = lib.concatLists (
    lib.mapAttrsToList (
      name: value: map (one: "--property=${lib.escapeShellArg "${name}=${text one}"}") (lib.toList value)
    ) shared
  );
  variables = lib.mapAttrsToList (
    name: value: "--setenv=${lib.escapeShellArg "${name}=${text value}"}"
  ) (lib.filterAttrs (name: value: lib.hasPrefix "MOLLY_" name && value != null) service.environment);
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
      --setenv=RUNTIME_DIRECTORY=${lib.escapeShellArg "/run/${unit}"} \
      ${builtins.concatStringsSep " \\\n  " (variables ++ properties)} \
      -- ${withWords}
  '';
  command =
    pkgs.writeShellScriptBin unit ''
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
          # What reads its standard input: the verb, and `-` for a line that is no argument.
          i | im | imp | impo | impor | import | -) input=/dev/stdin ;;
        esac
      done
      words() { [ $# -eq 0 ] || printf '%s\0' "$@" | ${pkgs.coreutils}/bin/base64 -w 0; }
      exec < <(words "$@" && echo && exec ${pkgs.coreutils}/bin/cat "$input" 2>/dev/null)
      if [ "$EUID" -eq 0 ]; then
        exec ${asService}
      fi
      # A member of the administrators' group is not asked for a password.
      exec sudo ${asService}
    ''
    // {
      inherit asService withWords;
    };
}
