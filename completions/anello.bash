# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for anello: options (asked of the program itself), their fixed values, files.

# anello image: subcommands, and the options that each has
_anello_image() {
    local word=$1 before=$2 options=
    local formats='raw qcow2 vmdk vdi'
    case $before in
    -f | -O | -F) mapfile -t COMPREPLY < <(compgen -W "$formats" -- "$word") && return ;;
    -r) [ "${COMP_WORDS[2]}" = check ] && mapfile -t COMPREPLY < <(compgen -W 'leaks all' -- "$word") && return ;;
    --output) mapfile -t COMPREPLY < <(compgen -W 'human json' -- "$word") && return ;;
    --preallocation)
        mapfile -t COMPREPLY < <(compgen -W 'off metadata falloc full' -- "$word") && return
        ;;
    -t | -T)
        mapfile -t COMPREPLY < <(compgen -W \
            'writeback writethrough none directsync unsafe' -- "$word") && return
        ;;
    esac
    if [ "$COMP_CWORD" -eq 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W \
            'create info check convert resize snapshot commit rebase' -- "$word")
        return
    fi
    case ${COMP_WORDS[2]} in
    create) options='-q -f -b -F -u -o' ;;
    info) options='-f --output --backing-chain -U' ;;
    check) options='-q -f -T -r --output -U' ;;
    convert) options='-c -p -q -n -U -W -f -O -B -F -o -t -T -l -S -m -r --target-is-zero --salvage' ;;
    resize) options='-q -f --shrink --preallocation' ;;
    snapshot) options='-q -U -f -l -c -a -d --output' ;;
    commit) options='-q -p -f -t -b -r -d' ;;
    rebase) options='-q -p -f -t -T -u -b -F' ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
    compopt -o filenames 2>/dev/null
}

_anello() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local values=
    if [ "${COMP_WORDS[1]}" = image ] && [ "$COMP_CWORD" -gt 1 ]; then
        _anello_image "$word" "$before"
        return
    fi
    case $before in
    -accel | --accel) values='bt interp check bt,verify=on bt,eager=on' ;;
    -cpu | --cpu) values='pentium pentium3 core2 host max' ;;
    -machine | --machine | -M) values='pc q35' ;;
    -display | --display) values='sdl none' ;;
    -parallel | --parallel) values='none' ;;
    -d | -trace | --trace) values='in_asm out_asm exec int mmu cpu_reset guest_errors dev:' ;;
    -vga | --vga) values='std' ;;
    -serial | --serial | -debugcon | --debugcon)
        values='stdio file: unix: pty none'
        ;;
    -monitor | --monitor) values='stdio unix: none' ;;
    -boot | --boot) values='order=c order=d order=a order=n menu=on' ;;
    -nic | --nic) values='user user,model=e1000 user,model=virtio-net-pci user,hostfwd=tcp::2222-:22 none' ;;
    -drive | --drive) values='if=virtio,file= if=floppy,file= file=' ;;
    -netdev | --netdev) values='user,id=n0' ;;
    -net | --net) values='nic user none' ;;
    -device | --device) values='e1000,netdev=n0 virtio-net-pci,netdev=n0 virtio-blk-pci,drive=d0 ahci,id=sata ide-hd,drive=d0 ide-cd,drive=d0 isa-debug-exit,iobase=0xf4,iosize=1 pc-testdev' ;;
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
        mapfile -t COMPREPLY < <(compgen -W 'run capabilities disasm image' -- "$word")
    fi
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
    compopt -o filenames 2>/dev/null
}

complete -F _anello anello
