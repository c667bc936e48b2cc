#!/bin/sh
# Runs inside the new system, once, when its packages are in place: accounts, Wine's prefix, units. No network.
set -eu

# -- accounts -------------------------------------------------------------------------------------------------------
# No password opens them; keys come with the payload disk.
useradd --create-home --shell /usr/local/bin/windows-shell harness
usermod --password '*' harness
usermod --password '*' root
chmod 755 /home/harness
echo stand-in > /etc/hostname
echo '127.0.0.1 localhost stand-in' > /etc/hosts
# Every clone has the same identity, so it may as well be known.
echo 5354414e44494e005354414e44494e00 > /etc/machine-id
rm -f /etc/ssh/ssh_host_*
# In sshd itself: the login shell of this system runs no Unix program.
sed -i 's|^Subsystem.*|Subsystem sftp internal-sftp|' /etc/ssh/sshd_config

# -- Wine -----------------------------------------------------------------------------------------------------------
for loader in /usr/lib/wine/wine64 /usr/lib/wine/wine /usr/lib/x86_64-linux-gnu/wine/wine64; do
    [ -x "$loader" ] && break
done
[ -x "$loader" ] || { echo "no Wine loader in this release's packages" >&2; exit 1; }
# Not links: the loader finds its parts beside the name it was called by.
for program in "wine $loader" "wineserver $(dirname "$loader")/wineserver"; do
    printf '#!/bin/sh\nexec %s "$@"\n' "${program#* }" > "/usr/local/bin/${program%% *}"
    chmod 755 "/usr/local/bin/${program%% *}"
done
. /usr/local/lib/harness/wine.env
export HOME LC_ALL WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
as_harness() { setpriv --reuid harness --regid harness --init-groups --inh-caps=-all "$@"; }
cd /home/harness
as_harness /usr/local/bin/wine wineboot --init
# The same Windows whichever release's Wine this is: what RtlGetVersion says comes from here.
as_harness /usr/local/bin/wine winecfg /v win10
for value in CurrentBuild CurrentBuildNumber; do
    as_harness /usr/local/bin/wine reg add 'HKLM\Software\Microsoft\Windows NT\CurrentVersion' /v "$value" /d 19045 /f
done
# The process that hosts a driver would have ten seconds to start, however busy the machine's host is. Wine wants text.
as_harness /usr/local/bin/wine reg add 'HKLM\System\CurrentControlSet\Control' /v ServicesPipeTimeout /d 120000 /f
as_harness /usr/local/bin/wineserver --wait
# The prefix fits this Wine; looking for reasons to renew it takes seconds of each start.
echo disable > "$WINEPREFIX/.update-timestamp"
chown harness:harness "$WINEPREFIX/.update-timestamp"
# Wine copies its own libraries into the prefix; the same files once more are 600 MB.
hardlink --content --quiet /usr/lib/x86_64-linux-gnu/wine "$WINEPREFIX/drive_c/windows"
as_harness mkdir -p "$WINEPREFIX/drive_c/harness"
as_harness ln -s /payload/regrun.exe "$WINEPREFIX/drive_c/harness/regrun.exe"
# Where disc.service shows what is in the CD drive.
mkdir /disc
ln -s /disc "$WINEPREFIX/dosdevices/d:"
# SFTP has /C:/harness/x, as OpenSSH for Windows has.
for home in "" /home/harness; do
    for letter in c C d D; do
        ln -s "$WINEPREFIX/dosdevices/$(echo "$letter" | tr CD cd):" "$home/$letter:"
    done
done

# -- boot -----------------------------------------------------------------------------------------------------------
systemctl --quiet enable systemd-networkd.service wineserver.service
systemctl --quiet set-default multi-user.target
# Nobody maintains this system: it is thrown away.
systemctl --quiet mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty@tty1.service getty-static.service serial-getty@ttyS0.service systemd-networkd-wait-online.service systemd-pstore.service \
    systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-journal-flush.service systemd-machine-id-commit.service systemd-firstboot.service \
    systemd-tmpfiles-clean.timer systemd-hwdb-update.service systemd-sysusers.service
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/*.log /var/log/apt
