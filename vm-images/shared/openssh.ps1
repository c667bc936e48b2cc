# Sets OpenSSH's server up with the harness's host key and public key: that of the folder OpenSSH beside this file,
# or, where there is none, the system's own, which Server 2025 has.
$ErrorActionPreference = 'Stop'
$here = Split-Path -Parent $MyInvocation.MyCommand.Path
$release = Join-Path $here 'OpenSSH'
if (Test-Path $release) {
    $program = Join-Path $env:ProgramFiles 'OpenSSH'
    Copy-Item -Recurse -Force $release $program
    & (Join-Path $program 'install-sshd.ps1')
} elseif (-not (Get-Service sshd -ErrorAction SilentlyContinue)) {
    throw 'this system has no sshd, and no release of OpenSSH was given'
}
$data = Join-Path $env:ProgramData 'ssh'
New-Item -ItemType Directory -Force $data | Out-Null
Copy-Item -Force (Join-Path $here 'ssh\*') $data
Remove-Item -Recurse -Force (Join-Path $here 'ssh') # everybody can read that folder
# sshd refuses files that others can read. By SID: names of groups are in the system's language.
$private = @(Join-Path $data 'administrators_authorized_keys') +
    @(Get-ChildItem $data -Filter 'ssh_host_*_key' | ForEach-Object { $_.FullName })
foreach ($file in $private) {
    icacls $file /inheritance:r /grant '*S-1-5-32-544:F' /grant '*S-1-5-18:F' | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "icacls ended with $LASTEXITCODE for $file" }
}
Set-Service sshd -StartupType Automatic
netsh advfirewall firewall add rule name='regfilter-harness ssh' dir=in action=allow protocol=TCP localport=22 | Out-Null
if ($LASTEXITCODE -ne 0) { throw "netsh ended with $LASTEXITCODE" }
