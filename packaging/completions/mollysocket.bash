# Made from the command line's definition by `cargo run -p xtask`; do not edit.
_mollysocket() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} place='' next='' word i
    local options='-h --help -c --config -v --verbose -V --version'
    COMPREPLY=()
    case $before in --config | --host | --port | --svg | -c)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            --config | --host | --port | --svg | -c) ((i++)) ;;
            -*) ;;
            *) case $place in '' | 'vapid' | 'qrcode' | 'connection' | 'test') place=${place:+$place }$word ;; esac ;;
        esac
    done
    case $place in
        '') next='server vapid qrcode connection test status health doctor check-config' ;;
        'server') options+=' --host --port' ;;
        'vapid') next='generate test' ;;
        'qrcode') next='url airgapped' ;;
        'qrcode url') options+=' --plain --svg' ;;
        'qrcode airgapped') options+=' --plain --svg' ;;
        'connection') next='add list remove ping pause resume export import' ;;
        'connection list') options+=' -a --anonymized -j --json' ;;
        'connection export') options+=' --secrets' ;;
        'connection import') options+=' --replace --other-key' ;;
        'test') next='endpoint uuid' ;;
        'status') options+=' -j --json' ;;
        'health') options+=' --live' ;;
        'doctor') options+=' -j --json --report' ;;
    esac
    case $current in
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$next" -- "$current") ;;
    esac
}
complete -F _mollysocket mollysocket
