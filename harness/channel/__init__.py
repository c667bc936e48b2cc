"""Ways to talk to a machine: serial (the runner's frames), SSH, WinRM."""
