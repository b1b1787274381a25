# Made from the table of verbs, bin/thimble/src/verbs.rs, by a test.
_thimble() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' i
    COMPREPLY=()
    # '=' is a word of its own.
    if [ "$cur" = = ]; then cur=''; elif [ "$prev" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -c|--config|-b|--fallback-config|-d|--datastore|-l|--log-level|-L|--log-file|-E|--trusted-certs|--stop-before|--at|--for|--id|--priority|--device-type|--server-url|--server-cert|--tenant-token|--update-poll|--inventory-poll|--retry-poll|--server-ip|--username|--password|--source|-C|--compression) [ "${COMP_WORDS[i+1]}" != = ] || ((i++)); ((i++)) ;;
            install|inspect|doctor|commit|rollback|resume|show-artifact|show-provides|show-flight-record|check-update|send-inventory|daemon|status|control|bootstrap|setup|snapshot|export-mender) verb=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $prev in
        -c|--config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -b|--fallback-config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -d|--datastore) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        -l|--log-level) mapfile -t COMPREPLY < <(compgen -W 'trace debug info warning error fatal' -- "$cur"); return ;;
        -L|--log-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -E|--trusted-certs) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --stop-before) mapfile -t COMPREPLY < <(compgen -W 'ArtifactInstall_Enter ArtifactCommit_Enter ArtifactCommit_Leave ArtifactRollback_Enter ArtifactFailure_Enter Cleanup' -- "$cur"); return ;;
        --at) mapfile -t COMPREPLY < <(compgen -W 'install reboot commit' -- "$cur"); return ;;
        --for) :; return ;;
        --id) :; return ;;
        --priority) :; return ;;
        --device-type) :; return ;;
        --server-url) :; return ;;
        --server-cert) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --tenant-token) :; return ;;
        --update-poll) :; return ;;
        --inventory-poll) :; return ;;
        --retry-poll) :; return ;;
        --server-ip) :; return ;;
        --username) :; return ;;
        --password) :; return ;;
        --source) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -C|--compression) mapfile -t COMPREPLY < <(compgen -W 'none gzip zstd' -- "$cur"); return ;;
    esac
    local words='-c --config -b --fallback-config -d --datastore -l --log-level -L --log-file -E --trusted-certs --skipverify -h --help -v --version'
    case $verb in
        '') words+=' install inspect doctor commit rollback resume show-artifact show-provides show-flight-record check-update send-inventory daemon status control bootstrap setup snapshot export-mender' ;;
        install) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); words+=' --reboot-exit-code --stop-before --check --json' ;;
        inspect) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); words+=' --json' ;;
        doctor) words+=' --json' ;;
        commit) words+=' --stop-before' ;;
        rollback) words+=' --stop-before' ;;
        resume) words+=' --reboot-exit-code --stop-before' ;;
        show-flight-record) words+=' --json --raw' ;;
        status) words+=' --json --watch' ;;
        control) words+=' --at --for --id --priority --json show pause continue fail' ;;
        bootstrap) words+=' -F --forcebootstrap' ;;
        setup) words+=' --device-type --server-url --server-cert --tenant-token --hosted-mender --update-poll --inventory-poll --retry-poll --demo --demo-server --demo-polling --server-ip --username --password -q --quiet' ;;
        snapshot) words+=' --source -C --compression -q --quiet dump' ;;
    esac
    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _thimble thimble mender-update mender mender-auth
