# Takes every network out of the Public profile, where WinRM is refused. The network may not be identified yet: asked
# for two minutes. Windows 7 and Server 2008 R2 have no Get-NetConnectionProfile: there the network list manager does it.
$ErrorActionPreference = 'Stop'
for ($attempt = 0; $attempt -lt 24; $attempt++) {
    if (Get-Command Get-NetConnectionProfile -ErrorAction SilentlyContinue) {
        $profiles = @(Get-NetConnectionProfile)
        $profiles | Where-Object { $_.NetworkCategory -eq 'Public' } | Set-NetConnectionProfile -NetworkCategory Private
        if ($profiles.Count -gt 0) { exit 0 }
    } else {
        $manager = [Activator]::CreateInstance([Type]::GetTypeFromCLSID('DCB00C01-570F-4A9B-8D69-199FDBA5723B'))
        $connections = @($manager.GetNetworkConnections())
        foreach ($connection in $connections) { $connection.GetNetwork().SetCategory(1) }
        if ($connections.Count -gt 0) { exit 0 }
    }
    Start-Sleep -Seconds 5
}
exit 1
