# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for anello: options (asked of the program itself), their fixed values, files.

_anello() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local values=
    case $before in
    -accel | --accel) values='bt interp kvm check' ;;
    -cpu | --cpu) values='pentium pentium3 core2 host max' ;;
    -machine | --machine | -M) values='pc' ;;
    -display | --display) values='sdl none' ;;
    -serial | --serial | -debugcon | --debugcon | -parallel | --parallel)
        values='stdio file: unix: pty none'
        ;;
    -monitor | --monitor) values='stdio unix: none' ;;
    -boot | --boot) values='order=c order=d order=a menu=on' ;;
    -device | --device) values='isa-debug-exit,iobase=0xf4,iosize=1 pc-testdev' ;;
    -rtc | --rtc) values='base=utc base=localtime' ;;
    -b) values='16 32 64' ;;
    -m | --memory) values='128M 256M 512M 1G 2G' ;;
    -smp | --smp | -append | --append | -name | --name | --timeout | -timeout | --type | -type)
        return
        ;;
    esac
    if [ -n "$values" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
        return
    fi
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" --help 2>/dev/null |
            grep -oE -- '--[a-z][a-z-]*' | sed 'p; s/^-//')" -- "$word")
        return
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'run capabilities disasm' -- "$word")
    fi
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
    compopt -o filenames 2>/dev/null
}

complete -F _anello anello
