#!/bin/sh
# Makes the checkout ready to run: system packages by apt where that is possible, then a Python environment in
# .venv. Does nothing when both are there. Every make target calls it; it may be called by hand, from anywhere.
#
#   tools/bootstrap.sh                       everything that building and running needs
#   tools/bootstrap.sh toolchain             and the extra `toolchain`, the compiler of the ziglang wheel
#   PYTHON=python3.12 tools/bootstrap.sh     with that Python instead of the newest one found
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "bootstrap: $*"; }
die() { printf '%s\n' "bootstrap: $*" >&2; exit 3; }
have() { command -v "$1" >/dev/null 2>&1; }

# -- what there is --------------------------------------------------------------------------------------------------
missing=
# The -win32 packages hold the plain C compiler; the packages without a suffix would bring a second one along.
have x86_64-w64-mingw32-gcc || missing="$missing gcc-mingw-w64-x86-64-win32"
have i686-w64-mingw32-gcc || missing="$missing gcc-mingw-w64-i686-win32"
no_compiler=$missing
have osslsigncode || missing="$missing osslsigncode"

# The environment is tied to its place and its Python, and brought up to date when its contents are to change.
made_for="$PWD ${PYTHON:-newest}"
made_from=$(cat pyproject.toml tools/bootstrap.sh | cksum)
stamped() { [ -x .venv/bin/python ] && [ "$(cat ".venv/$1" 2>/dev/null)" = "$2" ]; }
extras="reference dev $*"
there=" $(cat .venv/extras 2>/dev/null || true) "
# shellcheck disable=SC2086  # $extras is a list
holds_extras() {
    for extra in $extras; do
        case $there in *" $extra "*) ;; *) return 1 ;; esac
    done
}
if [ -z "$missing" ] && stamped made-for "$made_for" && stamped made-from "$made_from" && holds_extras; then
    exit 0
fi

# Two make targets started at once take turns.
mkdir -p .cache
if have flock; then
    exec 9>.cache/bootstrap.lock
    flock 9
fi

# -- which Python ---------------------------------------------------------------------------------------------------
modern() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
complete() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

python=
if stamped made-for "$made_for"; then
    python=.venv/bin/python
elif [ -n "${PYTHON:-}" ]; then
    modern "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or newer"
    python=$PYTHON
else
    newest=
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        if have "$candidate" && modern "$candidate"; then
            newest=${newest:-$candidate}
            if complete "$candidate"; then
                python=$candidate
                break
            fi
        fi
    done
    python=${python:-$newest}
    [ -n "$python" ] || die "Python 3.11 or newer is needed and there is none; on Debian and Ubuntu: apt-get install python3"
fi
# Debian and Ubuntu split ensurepip off into a package of its own.
if ! complete "$python"; then
    missing="$missing $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi

# -- system packages ------------------------------------------------------------------------------------------------
as_root=
if [ "$(id -u)" -ne 0 ]; then
    # A password can be asked for on a terminal only.
    if have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then as_root=sudo; else as_root=none; fi
fi
# shellcheck disable=SC2086  # $missing is a list
install_packages() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
}
# shellcheck disable=SC2086
known_packages() { apt-cache show $missing >/dev/null 2>&1; }
update_lists() {
    say "bringing the package lists up to date"
    $as_root apt-get update -qq
}

if [ -n "$missing" ] && have apt-get && [ "$as_root" != none ]; then
    say "these system packages are missing and will be installed with ${as_root:+$as_root }apt-get:$missing"
    if ! known_packages; then
        update_lists
        install_packages
    elif ! install_packages; then
        update_lists
        install_packages
    fi
elif [ -n "$missing" ]; then
    say "these system packages are missing and can't be installed from here:$missing"
    say "as root: apt-get install$missing"
    complete "$python" || die "$python can't make an environment without its venv package, so this ends here"
    if [ -n "$no_compiler" ]; then
        say "going on with the compiler of the ziglang wheel"
        extras="$extras toolchain"
    fi
    have osslsigncode || say "without osslsigncode, drivers are signed by the harness itself"
fi

# -- Python environment ---------------------------------------------------------------------------------------------
if stamped made-for "$made_for" && stamped made-from "$made_from" && holds_extras; then
    exit 0
fi
# What an earlier run put there stays.
stamped made-for "$made_for" && extras="$extras $there"
extras=$(printf '%s\n' $extras | sort -u | tr '\n' ' ')
say "making the Python environment in .venv with $python (extras: ${extras% })"
if ! stamped made-for "$made_for"; then
    rm -rf .venv
    "$python" -m venv .venv
    printf '%s\n' "$made_for" > .venv/made-for
fi
rm -f .venv/made-from
# What is never imported need not be compiled now.
.venv/bin/python -m pip install --disable-pip-version-check --no-compile --quiet --progress-bar on \
    -e ".[$(printf '%s' "$extras" | tr ' ' ',' | sed 's/,$//')]"
printf '%s\n' "$extras" > .venv/extras
printf '%s\n' "$made_from" > .venv/made-from
say "ready"
