# Made from the command line's definition by `cargo run -p xtask`; do not edit.
# __mollysocket_at WORD... : whether these are the words of the command so far.
function __mollysocket_at
    set -l place
    set -l value no
    for word in (commandline -opc)[2..-1]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case --config --host --port --svg -c
                set value yes
            case '-*'
            case '*'
                if contains -- "$place" '' 'vapid' 'qrcode' 'connection' 'test'
                    set place (string trim -- "$place $word")
                end
        end
    end
    test "$place" = "$argv"
end
complete -c mollysocket -f
complete -c mollysocket -s h -l help -d 'display usage information'
complete -c mollysocket -s c -l config -rF -d 'configuration file'
complete -c mollysocket -s v -l verbose -d 'log more; -vv and -vvv log even more'
complete -c mollysocket -s V -l version -d 'print the version'
complete -c mollysocket -n '__mollysocket_at ' -a server -d 'run the daemon'
complete -c mollysocket -n '__mollysocket_at ' -a vapid -d 'make and test VAPID keys'
complete -c mollysocket -n '__mollysocket_at ' -a qrcode -d 'show the QR code and the link for the phone'
complete -c mollysocket -n '__mollysocket_at ' -a connection -d 'manage the accounts in the database'
complete -c mollysocket -n '__mollysocket_at ' -a test -d 'check whether an account or endpoint is allowed'
complete -c mollysocket -n '__mollysocket_at ' -a status -d 'show the state of the server and each account; exits with 1 when something needs attention'
complete -c mollysocket -n '__mollysocket_at ' -a health -d 'say in one line whether the server works; exits with 1 when it does not'
complete -c mollysocket -n '__mollysocket_at ' -a doctor -d 'check everything between Signal and the phone, step by step, and say what to do'
complete -c mollysocket -n '__mollysocket_at ' -a check-config -d 'check a configuration file as the server reads it, without variables and the files it names'
complete -c mollysocket -n '__mollysocket_at vapid' -a generate -d 'print a new private key'
complete -c mollysocket -n '__mollysocket_at vapid' -a test -d 'print the Authorization header for a push endpoint'
complete -c mollysocket -n '__mollysocket_at qrcode' -a url -d 'for a phone that reaches this server'
complete -c mollysocket -n '__mollysocket_at qrcode' -a airgapped -d 'for a phone that does not reach this server'
complete -c mollysocket -n '__mollysocket_at connection' -a add -d 'add or replace an account and send a test push; takes the line Molly copies. With - instead of the arguments it reads that line from standard input, where no other user of the machine sees the password'
complete -c mollysocket -n '__mollysocket_at connection' -a list -d 'list the accounts; passwords are never shown'
complete -c mollysocket -n '__mollysocket_at connection' -a remove -d 'remove an account'
complete -c mollysocket -n '__mollysocket_at connection' -a ping -d 'send a test push to an account\'s phone'
complete -c mollysocket -n '__mollysocket_at connection' -a pause -d 'stop serving an account until it is resumed; Signal keeps its messages'
complete -c mollysocket -n '__mollysocket_at connection' -a resume -d 'serve a paused account again'
complete -c mollysocket -n '__mollysocket_at connection' -a export -d 'write accounts as JSON to standard output, for another server'
complete -c mollysocket -n '__mollysocket_at connection' -a import -d 'store the accounts that export wrote, read from standard input: all of them or none'
complete -c mollysocket -n '__mollysocket_at test' -a endpoint -d 'whether a push endpoint may be used'
complete -c mollysocket -n '__mollysocket_at test' -a uuid -d 'whether an account may register'
complete -c mollysocket -n '__mollysocket_at server' -l host -rF -d 'listen at this address, in place of the host that is configured'
complete -c mollysocket -n '__mollysocket_at server' -l port -rF -d 'listen at this port, in place of the one that is configured'
complete -c mollysocket -n '__mollysocket_at qrcode url' -l plain -d 'no colours'
complete -c mollysocket -n '__mollysocket_at qrcode url' -l svg -rF -d 'write the code as an SVG picture to FILE instead, - for standard output'
complete -c mollysocket -n '__mollysocket_at qrcode airgapped' -l plain -d 'no colours'
complete -c mollysocket -n '__mollysocket_at qrcode airgapped' -l svg -rF -d 'write the code as an SVG picture to FILE instead, - for standard output'
complete -c mollysocket -n '__mollysocket_at connection list' -s a -l anonymized -d 'shorten accounts and endpoints, to share the list'
complete -c mollysocket -n '__mollysocket_at connection list' -s j -l json -d 'print JSON'
complete -c mollysocket -n '__mollysocket_at connection export' -l secrets -d 'include passwords and endpoints; import needs them'
complete -c mollysocket -n '__mollysocket_at connection import' -l replace -d 'replace accounts that are here already and differ'
complete -c mollysocket -n '__mollysocket_at connection import' -l other-key -d 'import even if the endpoints were made for another VAPID key'
complete -c mollysocket -n '__mollysocket_at status' -s j -l json -d 'print JSON'
complete -c mollysocket -n '__mollysocket_at health' -l live -d 'only whether its process answers: an outage of Signal or of the database is no reason to restart it'
complete -c mollysocket -n '__mollysocket_at doctor' -s j -l json -d 'print JSON'
complete -c mollysocket -n '__mollysocket_at doctor' -l report -d 'print a report without names and addresses, to paste into an issue'
