# SPDX-License-Identifier: MIT
#
# One round of work, for any busybox shell: sets `sum` to what came out, which is the same each time.
#
#   work FOLDER DISK    FOLDER is for temporary files; DISK is written and read: 16 MiB

DISK_BLOCKS=4096 # of 4 KiB

text() {
    seq 1 6000 | awk '{ x = (x * 1103 + $1 * 12345) % 1000003; printf "%d %s line %x\n", x, $1 % 97, x }'
}

# As makefiles and configure scripts do it: many short programs and pipes.
scripts() {
    n=2 primes=
    while [ $n -lt 700 ]; do
        prime=1 p=2
        while [ $((p * p)) -le $n ]; do
            [ $((n % p)) -eq 0 ] && prime=0 && break
            p=$((p + 1))
        done
        [ $prime -eq 1 ] && primes="$primes $n"
        n=$((n + 1))
    done
    for word in $primes; do
        case $word in
        *7) echo "$word" | tr 0-9 a-j ;;
        *3) expr "$word" \* 3 ;;
        *) echo "$word" ;;
        esac
    done
    sed -n 's/^\([0-9]*\) \(.*\) line/\2:\1/p' "$1" | grep -c ':1'
    cut -d' ' -f2 "$1" | sort -n | uniq -c | head -20
}

storm() {
    for i in $(seq 1 60); do
        (echo $((i * i)) >"$1/storm.$i") &
    done
    wait
    for i in $(seq 1 60); do
        cat "$1/storm.$i"
    done
    rm -f "$1"/storm.*
}

# Four parts of the disk, from other places in the text each time.
disk() {
    for part in 0 1 2 3; do
        tail -n +$((part * 1000 + 1)) "$1/text" | cat - "$1/text" | head -c 131072 |
            dd of="$2" bs=4096 seek=$((DISK_BLOCKS / 4 * part)) conv=notrunc 2>/dev/null
    done
    sync
    [ "$2" != /dev/sda ] || echo 3 >/proc/sys/vm/drop_caches
    for part in 0 1 2 3; do
        dd if="$2" bs=4096 count=32 skip=$((DISK_BLOCKS / 4 * part)) 2>/dev/null | md5sum
    done
}

work() {
    text >"$1/text"
    gzip -c "$1/text" >"$1/text.gz"
    sum=$({
        gunzip -c "$1/text.gz" | md5sum
        sort "$1/text" | md5sum
        sort -k 2 -n "$1/text" | md5sum
        sort -r "$1/text" | gzip -c | gunzip -c | sha256sum
        scripts "$1/text"
        storm "$1"
        disk "$1" "$2"
    } | md5sum)
    sum=${sum%% *}
}
