# Takes every network out of the Public profile, where WinRM is refused. The network may not be identified yet, and is
# no one's to change before: asked for two minutes. Windows 7 and Server 2008 R2 have no Get-NetConnectionProfile:
# there the network list manager does it. In the words of PowerShell 2.
$ErrorActionPreference = 'Stop'
function Set-Private {
    if (Get-Command Get-NetConnectionProfile -ErrorAction SilentlyContinue) {
        $networks = @(Get-NetConnectionProfile)
        $networks | Where-Object { $_.NetworkCategory -eq 'Public' } | Set-NetConnectionProfile -NetworkCategory Private
        return $networks.Count -gt 0
    }
    $manager = [Activator]::CreateInstance([Type]::GetTypeFromCLSID('DCB00C01-570F-4A9B-8D69-199FDBA5723B'))
    $connections = @($manager.GetNetworkConnections())
    foreach ($connection in $connections) { [void]$connection.GetNetwork().SetCategory(1) }
    return $connections.Count -gt 0
}
for ($attempt = 0; $attempt -lt 24; $attempt++) {
    try {
        if (Set-Private) { exit 0 }
    } catch {
        Write-Output "attempt ${attempt}: $_"
    }
    Start-Sleep -Seconds 5
}
exit 1
