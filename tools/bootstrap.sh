#!/bin/sh
# Makes the checkout ready to run: system packages by apt where that is possible, then a Python environment in
# .venv. Does nothing when both are there. Called by every make target; safe to call by hand, from anywhere.
#
#   tools/bootstrap.sh            everything that building and running needs
#   PYTHON=python3.12 tools/bootstrap.sh     with that Python instead of the newest one found
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "bootstrap: $*"; }
die() { printf '%s\n' "bootstrap: $*" >&2; exit 3; }
have() { command -v "$1" >/dev/null 2>&1; }

# Two make targets started at once take turns.
mkdir -p .cache
if have flock; then
    exec 9>.cache/bootstrap.lock
    flock 9
fi

# -- which Python ---------------------------------------------------------------------------------------------------
modern() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
complete() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

python=${PYTHON:-}
if [ -n "$python" ]; then
    modern "$python" || die "PYTHON=$python is not a Python 3.11 or newer"
else
    newest=
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        have "$candidate" && modern "$candidate" || continue
        newest=${newest:-$candidate}
        if complete "$candidate"; then python=$candidate; break; fi
    done
    python=${python:-$newest}
    [ -n "$python" ] || die "Python 3.11 or newer is needed and none was found; on Debian and Ubuntu: apt-get install python3"
fi

# -- system packages ------------------------------------------------------------------------------------------------
missing=
# The -win32 packages hold the plain C compiler; the packages without a suffix would bring a second one along.
have x86_64-w64-mingw32-gcc || missing="$missing gcc-mingw-w64-x86-64-win32"
have i686-w64-mingw32-gcc || missing="$missing gcc-mingw-w64-i686-win32"
have osslsigncode || missing="$missing osslsigncode"
no_compiler=$missing
# Debian and Ubuntu split ensurepip off into a package of its own.
if [ ! -x .venv/bin/python ] && ! complete "$python"; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    missing="$missing python$version-venv"
fi

extras=reference,dev
if [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        # A password can be asked for on a terminal only.
        if have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then as_root=sudo; else as_root=none; fi
    fi
    if have apt-get && [ "$as_root" != none ]; then
        say "these system packages are missing and will be installed with ${as_root:+sudo }apt-get:$missing"
        # shellcheck disable=SC2086  # a list of package names
        install() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; }
        # shellcheck disable=SC2086
        if ! apt-cache show $missing >/dev/null 2>&1; then
            $as_root apt-get update -qq
            install
        elif ! install; then
            say "the package lists look stale; updating them once"
            $as_root apt-get update -qq
            install
        fi
    else
        say "these system packages are missing:$missing"
        say "install them as root: apt-get install$missing"
        complete "$python" || [ -x .venv/bin/python ] || die "$python can't make an environment (no ensurepip), so nothing more can be done here"
        case "$no_compiler" in
            *gcc-mingw*) say "going on with the compiler of the ziglang wheel"; extras=$extras,toolchain ;;
        esac
        have osslsigncode || say "drivers can be built but not signed without osslsigncode"
    fi
fi

# -- Python environment ---------------------------------------------------------------------------------------------
# What it was made from: a moved checkout, another Python or changed dependencies make it anew.
key=$(cat pyproject.toml tools/bootstrap.sh | cksum)
key="$key $extras $PWD $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$key" ]; then
    exit 0
fi
say "making the Python environment in .venv ($python, extras $extras)"
# An environment of the same Python in the same place is brought up to date; any other one is replaced.
case "$(cat .venv/stamp 2>/dev/null)" in
    *" $PWD ${key##*" $PWD "}") ;;
    *) rm -rf .venv; "$python" -m venv .venv ;;
esac
rm -f .venv/stamp
.venv/bin/python -m pip install --disable-pip-version-check --quiet --progress-bar on -e ".[$extras]"
printf '%s\n' "$key" > .venv/stamp
say "ready"
