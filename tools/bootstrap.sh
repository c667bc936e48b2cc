#!/bin/sh
# Makes the checkout ready to run: system packages by apt where that is possible, then a Python environment in
# .venv. Does nothing when both are there. Every make target calls it; it may be called by hand, from anywhere.
#
#   tools/bootstrap.sh                       everything that building and running needs
#   tools/bootstrap.sh toolchain             and the extra `toolchain`, the compiler of the ziglang wheel
#   tools/bootstrap.sh machines              and all that machines need: QEMU, libvirt, Wine, the tools for images
#   tools/bootstrap.sh postgres              and PostgreSQL, which tests of the history start by themselves
#   tools/bootstrap.sh browser               and Chromium, in which tests open the report
#   tools/bootstrap.sh cluster               and Ray, by which many hosts run a plan
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

# What machines need. Without these nothing else breaks: tests that need a machine are skipped.
machine_missing=
need() { machine_missing="$machine_missing $1"; }
with_machines=no
case " $* " in *" machines "*)
    with_machines=yes
    have qemu-system-x86_64 || need qemu-system-x86
    have qemu-img || need qemu-utils
    # The QEMU driver runs inside the harness; the daemon's package holds programs the driver calls.
    ls /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so >/dev/null 2>&1 || need libvirt-daemon-driver-qemu
    [ -x /usr/sbin/libvirtd ] || need libvirt-daemon
    have virsh || need libvirt-clients
    have swtpm || need swtpm
    # libvirt gives no machine a TPM without swtpm_setup, even when others start it.
    have swtpm_setup || need swtpm-tools
    ls /usr/share/OVMF/OVMF_CODE*.fd >/dev/null 2>&1 || need ovmf
    have wine || need "wine wine64"
    # For the test of the debugger's port.
    have gdb || need gdb-minimal
    have mmdebstrap || need mmdebstrap
    # A CD that a BIOS boots, for the tests of adopted machines.
    have xorriso || need xorriso
    { have grub-mkrescue && [ -d /usr/lib/grub/i386-pc ]; } || need "grub-common grub-pc-bin"
    have mcopy || need mtools
    have wimlib-imagex || need wimtools
    have fsck.fat || [ -x /sbin/fsck.fat ] || need dosfstools
    # An NTFS with a crash dump in it, for the tests of taking it off.
    have mkntfs || [ -x /usr/sbin/mkntfs ] || need ntfs-3g
    # Test frameworks themselves, compiled for Windows, for the tests of native cases.
    have x86_64-w64-mingw32-g++-posix || need g++-mingw-w64-x86-64-posix
    [ -d /usr/src/googletest ] || need googletest
    [ -d /usr/include/catch2 ] || need catch2
    have mkfs.ext4 || [ -x /sbin/mkfs.ext4 ] || need e2fsprogs
    # A plain user makes images in a user namespace.
    [ "$(id -u)" -eq 0 ] || have newuidmap || need uidmap
esac

postgres=
case " $* " in *" postgres "*)
    { have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; } || postgres=postgresql
esac

# The tests of the report open it in this.
browser=
case " $* " in *" browser "*)
    # Ubuntu's package of Chromium only fetches its snap: tests there run in Chrome where somebody installed it.
    have chromium || have chromium-browser || have google-chrome || grep -qsx ID=ubuntu /etc/os-release || browser=chromium
esac

# The tests of the channel over SSH start this program by themselves.
ssh_server=
[ $with_machines = no ] || have sshd || [ -x /usr/sbin/sshd ] || ssh_server=openssh-server

# Started by root, libvirt's QEMU driver looks up the user and the group that QEMU would run as, and fails without.
# The harness runs QEMU as itself; the names must exist all the same.
lacks_libvirt_user() {
    [ $with_machines = yes ] && [ "$(id -u)" -eq 0 ] && have apt-get && have useradd &&
        ! { getent group libvirt-qemu && getent passwd libvirt-qemu; } >/dev/null
}

# The environment is tied to its place and its Python, and brought up to date when its contents are to change.
made_for="$PWD ${PYTHON:-newest}"
made_from=$(cat pyproject.toml tools/bootstrap.sh | cksum)
stamped() { [ -x .venv/bin/python ] && [ ! -e .venv/torn ] && [ "$(cat ".venv/$1" 2>/dev/null)" = "$2" ]; }
extras="reference history dev $*"
there=" $(cat .venv/extras 2>/dev/null || true) "
# shellcheck disable=SC2086  # $extras is a list
holds_extras() {
    for extra in $extras; do
        case $there in *" $extra "*) ;; *) return 1 ;; esac
    done
}
if [ -z "$missing$machine_missing$ssh_server$postgres$browser" ] && ! lacks_libvirt_user &&
    stamped made-for "$made_for" && stamped made-from "$made_from" && holds_extras; then
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
    [ -n "$python" ] || ! have python3 ||
        die "Python 3.11 or newer is needed, and $(python3 --version) is the newest here; name another by PYTHON="
fi
# Debian and Ubuntu split ensurepip off into a package of its own.
if [ -z "$python" ]; then
    missing="$missing python3 python3-venv"
elif ! complete "$python"; then
    missing="$missing $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi

# The binding to libvirt is compiled when it is installed.
binding=
if [ $with_machines = yes ] && ! { stamped made-for "$made_for" && .venv/bin/python -c 'import libvirt' 2>/dev/null; }; then
    have gcc || binding="$binding gcc libc6-dev"
    have pkg-config || binding="$binding pkg-config"
    pkg-config --exists libvirt 2>/dev/null || binding="$binding libvirt-dev"
    if [ -z "$python" ]; then
        binding="$binding python3-dev"
    elif ! "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then
        binding="$binding $("$python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')"
    fi
fi

# -- system packages ------------------------------------------------------------------------------------------------
as_root=
if [ "$(id -u)" -ne 0 ]; then
    # A password can be asked for on a terminal only.
    if have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then as_root=sudo; else as_root=none; fi
fi
# A package with a server starts it and enables it for every boot. This file keeps them from being started
# (invoke-rc.d(8)); what this script brought is disabled. The harness starts by itself what it needs.
# shellcheck disable=SC2016  # expanded by the inner shell
install_without_starting='
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap "rm -f $policy" EXIT
        trap "exit 130" HUP INT TERM
        printf "#!/bin/sh\nexit 101\n" > $policy
        chmod 755 $policy
    fi
    enabled() { for unit in libvirtd virtlogd virtlockd ssh postgresql; do ls /etc/systemd/system/*.wants/$unit*; done 2>/dev/null; }
    before=$(enabled)
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || exit
    command -v systemctl >/dev/null || exit 0
    for link in $(enabled); do
        case $before in *"$link"*) ;; *) systemctl disable --quiet "${link##*/}" || true ;; esac
    done
'
# shellcheck disable=SC2086  # a list of packages
install_packages() { $as_root sh -c "$install_without_starting" sh $1; }
known_packages() {
    for package in $1; do apt-cache show "$package" >/dev/null 2>&1 || return 1; done
}
update_lists() {
    say "bringing the package lists up to date"
    $as_root apt-get update -qq
}
install_or_update() {
    say "these system packages are missing and will be installed with ${as_root:+$as_root }apt-get:$1"
    if known_packages "$1" && install_packages "$1"; then
        return 0
    fi
    update_lists && install_packages "$1"
}

if [ -n "$missing" ] && have apt-get && [ "$as_root" != none ]; then
    install_or_update "$missing"
elif [ -n "$missing" ]; then
    say "these system packages are missing and can't be installed from here:$missing"
    say "as root: apt-get install$missing"
    [ -n "$python" ] || die "without Python this ends here; 3.11 or newer is needed"
    complete "$python" || die "$python can't make an environment without its venv package, so this ends here"
    if [ -n "$no_compiler" ]; then
        say "going on with the compiler of the ziglang wheel"
        extras="$extras toolchain"
    fi
    have osslsigncode || say "without osslsigncode, drivers are signed by the harness itself"
fi

if [ -z "$python" ]; then
    python=python3
    modern "$python" || die "Python 3.11 or newer is needed, and this system's package python3 is older"
fi

if [ -n "$machine_missing$binding" ]; then
    if ! have apt-get || [ "$as_root" = none ]; then
        say "machines need system packages that can't be installed from here:$machine_missing$binding"
        say "as root: apt-get install$machine_missing$binding"
        say "going on without; tests that need a machine are skipped"
    elif install_or_update "$machine_missing$binding"; then
        binding=
    else
        say "going on without these; tests that need a machine are skipped"
    fi
    if [ -n "$binding" ]; then
        # shellcheck disable=SC2086  # $extras is a list
        extras=$(printf '%s\n' $extras | grep -vx machines | tr '\n' ' ')
    fi
fi

if [ -n "$ssh_server" ]; then
    if ! have apt-get || [ "$as_root" = none ]; then
        say "tests over SSH need openssh-server, which can't be installed from here; they are skipped"
    else
        say "tests over SSH need the program sshd: installing openssh-server, without a server that is started"
        known_packages "$ssh_server" || update_lists
        install_packages "$ssh_server" || say "going on without; tests over SSH are skipped"
    fi
fi

if [ -n "$postgres" ]; then
    if ! have apt-get || [ "$as_root" = none ]; then
        say "tests of the history on PostgreSQL need postgresql, which can't be installed from here; they are skipped"
    else
        say "tests of the history need PostgreSQL's programs: installing postgresql, without a server that is started"
        known_packages "$postgres" || update_lists
        install_packages "$postgres" || say "going on without; tests on PostgreSQL are skipped"
    fi
fi

if [ -n "$browser" ]; then
    if ! have apt-get || [ "$as_root" = none ]; then
        say "tests of the report in a browser need chromium, which can't be installed from here; they are skipped"
    else
        say "tests of the report need a browser: installing chromium"
        known_packages "$browser" || update_lists
        install_packages "$browser" || say "going on without; tests in a browser are skipped"
    fi
fi

if lacks_libvirt_user; then
    # Numbers and names as Debian's libvirt-daemon-system would choose them, where they are free.
    say "as root, libvirt's QEMU driver needs a user and a group to be there: making libvirt-qemu (no login, no home)"
    getent group libvirt-qemu >/dev/null || groupadd --system --gid 64055 libvirt-qemu 2>/dev/null ||
        groupadd --system libvirt-qemu
    user="--system --gid libvirt-qemu --home-dir /var/lib/libvirt --no-create-home --shell /usr/sbin/nologin"
    # shellcheck disable=SC2086  # $user is a list
    getent passwd libvirt-qemu >/dev/null || useradd $user --uid 64055 libvirt-qemu 2>/dev/null ||
        useradd $user libvirt-qemu
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
# What is never imported need not be compiled now.
: > .venv/torn
.venv/bin/python -m pip install --disable-pip-version-check --no-compile --quiet --progress-bar on \
    -e ".[$(printf '%s' "$extras" | tr ' ' ',' | sed 's/,$//')]" || failed=$?
# Without the index, for one, pip gives up before it changes anything. Killed, it leaves halves.
[ "${failed:-0}" -gt 128 ] || rm .venv/torn
[ -z "${failed:-}" ] || die "pip could not install the Python packages; the reason is above"
printf '%s\n' "$extras" > .venv/extras
printf '%s\n' "$made_from" > .venv/made-from
say "ready"
