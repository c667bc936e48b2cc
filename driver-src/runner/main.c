/* The command line. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "help.h"
#include "oneshot.h"
#include "process.h"
#include "protocol.h"
#include "runner.h"
#include "service.h"
#include "session.h"
#include "transport.h"
#include "version.h"

#define DEFAULT_PORT L"\\\\.\\Global\\org.regfilter.runner.0"
#define DEFAULT_WAIT_S 300
#define MAX_WAIT_S 86400
#define MAX_PORT_NAME 256

typedef struct OPTIONS {
    BOOL help, version, patient, service, install, remove;
    const wchar_t *port, *request, *reply, *date;
    const wchar_t *write_path, *read_path;
    unsigned __int64 offset, length, wait_s;
} OPTIONS;

static OPTIONS options;

static void print(HANDLE output, const char *text)
{
    DWORD written;

    WriteFile(output, text, (DWORD)strlen(text), &written, NULL);
}

void say(const char *text, ...)
{
    char line[512];
    va_list arguments;

    va_start(arguments, text);
    _vsnprintf(line, sizeof(line) - 1, text, arguments);
    va_end(arguments);
    line[sizeof(line) - 1] = 0;
    print(GetStdHandle(STD_ERROR_HANDLE), "regrun: ");
    print(GetStdHandle(STD_ERROR_HANDLE), line);
    print(GetStdHandle(STD_ERROR_HANDLE), "\n");
}

static BOOL parse_number(const wchar_t *text, unsigned __int64 *number)
{
    unsigned __int64 value = 0;

    if (*text == 0 || wcslen(text) > 18) {
        return FALSE;
    }
    for (; *text != 0; text++) {
        if (*text < L'0' || *text > L'9') {
            return FALSE;
        }
        value = value * 10 + (unsigned)(*text - L'0');
    }
    *number = value;
    return TRUE;
}

/* How many arguments behind argv[0] belong to it; -1 when it isn't understood. */
static int parse_option(int left, wchar_t **argv)
{
    static const struct {
        const wchar_t *name;
        BOOL *flag;
    } flags[] = {
        {L"--help", &options.help},       {L"--version", &options.version}, {L"--patient", &options.patient},
        {L"--service", &options.service}, {L"--install", &options.install}, {L"--remove", &options.remove},
    };
    static const struct {
        const wchar_t *name;
        const wchar_t **text;
    } texts[] = {{L"--port", &options.port},
                 {L"--request", &options.request},
                 {L"--reply", &options.reply},
                 {L"--date", &options.date}};
    size_t index;

    for (index = 0; index < sizeof(flags) / sizeof(flags[0]); index++) {
        if (wcscmp(argv[0], flags[index].name) == 0) {
            *flags[index].flag = TRUE;
            return 0;
        }
    }
    for (index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        if (left > 1 && wcscmp(argv[0], texts[index].name) == 0) {
            *texts[index].text = argv[1];
            return 1;
        }
    }
    if (left > 1 && wcscmp(argv[0], L"--wait") == 0) {
        return parse_number(argv[1], &options.wait_s) && options.wait_s <= MAX_WAIT_S ? 1 : -1;
    }
    if (left > 2 && wcscmp(argv[0], L"--write") == 0) {
        options.write_path = argv[1];
        return parse_number(argv[2], &options.offset) ? 2 : -1;
    }
    if (left > 3 && wcscmp(argv[0], L"--read") == 0) {
        options.read_path = argv[1];
        return parse_number(argv[2], &options.offset) && parse_number(argv[3], &options.length) ? 3 : -1;
    }
    return -1;
}

static int serve_port(HANDLE stop)
{
    const wchar_t *name = options.port != NULL ? options.port : DEFAULT_PORT;
    TRANSPORT *transport = transport_open_port(name, stop, (DWORD)options.wait_s * 1000);
    BOOL served;

    if (transport == NULL) {
        if (WaitForSingleObject(stop, 0) == WAIT_OBJECT_0) {
            return RUNNER_EXIT_OK;
        }
        say("port %ls: error %lu", name, GetLastError());
        return RUNNER_EXIT_FAILED;
    }
    served = session_serve(transport, stop);
    transport->close(transport);
    return served ? RUNNER_EXIT_OK : RUNNER_EXIT_FAILED;
}

static int serve_standard(HANDLE stop)
{
    TRANSPORT *transport = transport_open_standard(options.patient);

    if (transport == NULL) {
        say("no memory to serve with");
        return RUNNER_EXIT_FAILED;
    }
    if (!session_serve(transport, stop)) {
        return RUNNER_EXIT_FAILED;
    }
    transport->close(transport);
    return RUNNER_EXIT_OK;
}

static int install(void)
{
    wchar_t arguments[MAX_PORT_NAME + 64];
    const wchar_t *port = options.port != NULL ? options.port : DEFAULT_PORT;

    if (wcslen(port) > MAX_PORT_NAME || wcschr(port, L'"') != NULL) {
        say("no port is called that");
        return RUNNER_EXIT_USAGE;
    }
    _snwprintf(arguments, sizeof(arguments) / sizeof(wchar_t), L" --port \"%ls\" --wait %u", port,
               (unsigned)options.wait_s);
    return service_install(arguments);
}

static int print_version(void)
{
    char line[128], version[RUNNER_VERSION_SIZE];

    runner_version(version);
    _snprintf(line, sizeof(line), "regrun %s, protocol %d.%d\n", version, REGRUN_PROTOCOL_MAJOR,
              REGRUN_PROTOCOL_MINOR);
    print(GetStdHandle(STD_OUTPUT_HANDLE), line);
    return RUNNER_EXIT_OK;
}

int runner_main(int argc, wchar_t **argv)
{
    int index, more;
    HANDLE stop;

    if (argc > 1 && wcscmp(argv[1], L"--helper") == 0) {
        return process_helper_main(argc, argv);
    }
    options.wait_s = DEFAULT_WAIT_S;
    for (index = 1; index < argc; index += 1 + more) {
        more = parse_option(argc - index, argv + index);
        if (more < 0) {
            say("not understood: %ls (regrun --help)", argv[index]);
            return RUNNER_EXIT_USAGE;
        }
    }
    if (options.help) {
        print(GetStdHandle(STD_OUTPUT_HANDLE), help_text);
        return RUNNER_EXIT_OK;
    }
    if (options.version) {
        return print_version();
    }
    if ((options.request != NULL) != (options.reply != NULL)) {
        say("--request and --reply belong together");
        return RUNNER_EXIT_USAGE;
    }
    clock_set_by(options.date);
    if (options.request != NULL) {
        return oneshot_requests(options.request, options.reply);
    }
    if (options.write_path != NULL) {
        return oneshot_write(options.write_path, options.offset);
    }
    if (options.read_path != NULL) {
        return oneshot_read(options.read_path, options.offset, options.length);
    }
    if (options.install) {
        return install();
    }
    if (options.remove) {
        return service_remove();
    }
    if (options.service) {
        return service_run(serve_port);
    }
    stop = CreateEventW(NULL, TRUE, FALSE, NULL); /* never set: the stream's end or the process's ends it */
    if (stop == NULL) {
        return RUNNER_EXIT_FAILED;
    }
    return options.port != NULL ? serve_port(stop) : serve_standard(stop);
}
