/* What --help prints. */
#ifndef RUNNER_HELP_H
#define RUNNER_HELP_H

static const char help_text[] =
    "regrun: carries out requests of the registry filter harness inside a Windows guest.\n"
    "\n"
    "It reads frames and writes frames (driver-src/abi/regrun.h) until their source ends:\n"
    "  regrun                      stdin and stdout\n"
    "  regrun --patient            the same, but a read without bytes means that nobody is connected yet\n"
    "  regrun --port NAME          COM2 (115200 8N1) or \\\\.\\Global\\org.regfilter.runner.0\n"
    "      --wait SECONDS          how long a port that is not there yet is waited for; default 300\n"
    "  regrun --date PROGRAM ...   with any of them, on Wine alone: requests may set the clock of the system below,\n"
    "                              by that program (Z:\\bin\\date); without it they are refused\n"
    "\n"
    "As a service that starts with the system (needs an administrator):\n"
    "  regrun --install [--port NAME] [--wait SECONDS]\n"
    "                              default port: \\\\.\\Global\\org.regfilter.runner.0\n"
    "  regrun --remove\n"
    "  regrun --service ...        what the service control manager runs\n"
    "\n"
    "For channels that only run commands:\n"
    "  regrun --request IN --reply OUT     frames from the file IN, replies to the file OUT\n"
    "  regrun --write PATH OFFSET          stdin to a file, from that byte on; the file is not cut\n"
    "  regrun --read PATH OFFSET LENGTH    bytes of a file to stdout\n"
    "\n"
    "  regrun --version            version of runner and protocol\n"
    "  regrun --helper ...         a second process of a program; started by the runner itself\n"
    "\n"
    "Exit code: 0, 1 when it failed (stderr says why), 2 for a command line it does not understand.\n";

#endif
