# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts of this folder share: where the sources are, how they speak and how they fail.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ANELLO_CACHE=${ANELLO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anello}
ANELLO_GUESTS=${ANELLO_GUESTS:-$ANELLO_CACHE/guests}

# say TEXT...: one line of progress, on stderr so that a script's result can be piped
say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die TEXT...: what went wrong and what to do about it, then the end
die() {
    say "error: $*"
    exit 1
}

# usage_and_exit: the comment at the head of the calling script is its help text
usage_and_exit() {
    sed -n '/^# Usage:/,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0
}

# is_debian_12: everything here is written for the packages of that release
is_debian_12() {
    [ -r /etc/os-release ] && grep -q '^VERSION_CODENAME=bookworm' /etc/os-release
}
