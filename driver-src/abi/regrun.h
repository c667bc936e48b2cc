/*
 * The contract between the runner (regrun.exe) and the harness: frames on a byte stream, requests, limits.
 *
 * This is the only definition. The runner includes it; Python parses the same file
 * (harness/channel/abi.py, dissect.cstruct).
 *
 * A message is one frame: REGRUN_FRAME, then `length` bytes of payload. Both directions use the same frame;
 * a reply carries the request's id. The runner executes one request after the other, in order; PING,
 * CANCEL and HOLD are answered at once by the thread that reads, also while another request runs.
 *
 * A reader that finds garbage looks for the next header whose header_crc is right. When the payload's CRC is
 * wrong, or no byte arrives for REGRUN_STALL_MS in the middle of a frame (its sender died), the reader gives
 * up that frame alone: it goes on searching right behind that frame's magic, in the bytes it already holds.
 *
 * Rules of change: a new request or field raises REGRUN_PROTOCOL_MINOR; anything else raises
 * REGRUN_PROTOCOL_MAJOR. HELLO is answered to anybody, so that both versions can be named.
 */
#ifndef REGRUN_H
#define REGRUN_H

#ifdef REGRUN_STDINT
#include <stdint.h>
#endif

#define REGRUN_PROTOCOL_MAJOR 1
#define REGRUN_PROTOCOL_MINOR 1

#define REGRUN_MAGIC 0x4E524752                /* "RGRN" as bytes on the wire */
#define REGRUN_MAX_PAYLOAD 0x08000000          /* 128 MB, what harness.workload encodes at most */
#define REGRUN_STALL_MS 2000

/* Limits the runner keeps to; beyond them it answers REGRUN_ERROR_LIMIT */
#define REGRUN_MAX_CHUNK 0x00400000            /* bytes of one FILE_PUT or FILE_GET, 4 MB */
#define REGRUN_MAX_IO 0x01000000               /* bytes in or out of one device request, 16 MB */
#define REGRUN_MAX_OUTPUT 0x01000000           /* bytes kept of each output stream of a command, 16 MB */
#define REGRUN_MAX_TEXT 32767                  /* UTF-16 units of a path, name or command line */
#define REGRUN_MAX_DEVICES 64                  /* devices open at once */
#define REGRUN_MAX_PARAMETERS 256              /* values of a service's key, by one request */
#define REGRUN_MAX_TAGS 256                    /* pool tags asked for at once */
#define REGRUN_MAX_VERIFIED 1024               /* drivers under Driver Verifier that are told */
#define REGRUN_MAX_OPEN_KEYS 256               /* open keys that are listed */

/*
 * Requests. The payload is CBOR, a map with text keys unless said otherwise; so is the reply's. Absent
 * optional keys have the default named here. Paths are DOS paths of the guest; texts are Unicode. A reply
 * map may carry more keys than the host knows; a request with a key the runner doesn't know is refused.
 *
 *  HELLO        {}  ->  {major, minor, program_format, arch "x64"|"x86", pointer_size, pid, max_payload, build text}
 *  PING         any bytes  ->  the same bytes, not CBOR
 *  CANCEL       {id}  ->  {found bool}: end the command that request `id` runs; other requests can't be cancelled
 *  ENVIRONMENT  {}  ->  see docs/runner.md; what can't be found out is null, never a guess
 *  RUN          a program as harness.workload.codec encodes it  ->  its result as that module decodes it
 *  FILE_PUT     {path, offset, data, truncate = false: cut the file to the end of `data`}  ->  {size}
 *               makes missing folders
 *  FILE_GET     {path, offset, length}  ->  {data, size}: fewer bytes only at the end of the file
 *  FILE_DELETE  {path}  ->  {}
 *  FILE_DIGEST  {path}  ->  {size, sha256 bytes}
 *  EXECUTE      {command_line, timeout_ms, input bytes = none, folder text = none, max_output = 1 MB}
 *               -> {exit_code, stdout, stderr, stdout_lost, stderr_lost, timed_out bool, cancelled bool}
 *               ends the whole tree of processes at the time-out, and when the host's side of the stream goes
 *               away (a COM port can't tell); *_lost are bytes beyond max_output
 *  SERVICE_CREATE {name, path DOS path of the image, parameters {text: int|text|bytes} = {},
 *               file_system bool = false, group text = none: its load order group}  ->  {}
 *               a kernel driver, or one of file systems, demand start; one of the same name must not exist.
 *               file_system and group since version 1.1
 *  SERVICE_START {name}  ->  {status NTSTATUS|null, win32 error|null, by "native"|"scm"}
 *  SERVICE_STOP {name}  ->  the same
 *  SERVICE_DELETE {name}  ->  {}
 *               once it is gone: it stays for as long as anybody has it open, half a minute at most
 *  SERVICE_QUERY {name}  ->  {exists bool, state win32 SERVICE_xxx|null}
 *  SERVICE_VALUES {name, key: path below the service's key, values {text: int|text|bytes}}  ->  {}
 *               the key is made where it is missing. Since version 1.1
 *  DEVICE_OPEN  {device}  ->  {status, handle: a number of the runner's, 0 when status is a failure}
 *  DEVICE_CONTROL {handle | device, code, data, output: size of the buffer}  ->  {status, information, data}
 *  DEVICE_READ  {handle | device, length}  ->  {status, information, data}
 *  DEVICE_WRITE {handle | device, data}  ->  {status, information, data: empty}
 *  DEVICE_CLOSE {handle}  ->  {}
 *  CLOCK_SET    {unix_us: microseconds since 1970 UTC}  ->  {previous_unix_us, unix_us: read back}
 *  CRASH        {how "critical-process"|"hard-error"|"hang", code = 0xE2}  ->  no reply when it worked
 *  SHUTDOWN     {reboot bool, force bool = true}  ->  {}
 *  QUIESCE      {}  ->  {}: flush files and the registry; afterwards the runner sends nothing until asked
 *  HOLD         {before: index of an operation, or REGRUN_NO_HOLD; absent: only ask, statuses = false}
 *               ->  {running bool, held bool, operation, statuses bytes}
 *               the program that runs, or the next one, waits before that operation until HOLD names another;
 *               `operation` runs, waits or comes next; `statuses` are 32 bits for each before it, where asked
 *               for. A program that waits goes on when the host's side of the stream goes away. Since version 1.1
 *  POOL_TAGS    {tags: 4 bytes each}  ->  {tags [{tag bytes, paged_allocs, paged_frees, paged_bytes,
 *               nonpaged_allocs, nonpaged_frees, nonpaged_bytes}]}
 *               those that were used since the boot; the counts go round after 32 bits. Since version 1.1
 *  POOL_VERIFIED {}  ->  {drivers [{name, flags, paged, nonpaged: allocations, paged_bytes, nonpaged_bytes}]}
 *               what each driver under Driver Verifier holds. Since version 1.1
 *  OPEN_KEYS    {key: its path as the kernel has it}
 *               ->  {hive text, runner: its own process id, count, keys [{process id, program text|null, name}]}
 *               every open key there and below, REGRUN_MAX_OPEN_KEYS of `count` at most; `hive` is the key whose
 *               hive was asked. Since version 1.1
 */
#define REGRUN_HELLO 1
#define REGRUN_PING 2
#define REGRUN_CANCEL 3
#define REGRUN_ENVIRONMENT 4
#define REGRUN_RUN 5
#define REGRUN_FILE_PUT 6
#define REGRUN_FILE_GET 7
#define REGRUN_FILE_DELETE 8
#define REGRUN_FILE_DIGEST 9
#define REGRUN_EXECUTE 10
#define REGRUN_SERVICE_CREATE 11
#define REGRUN_SERVICE_START 12
#define REGRUN_SERVICE_STOP 13
#define REGRUN_SERVICE_DELETE 14
#define REGRUN_SERVICE_QUERY 15
#define REGRUN_DEVICE_OPEN 16
#define REGRUN_DEVICE_CONTROL 17
#define REGRUN_DEVICE_READ 18
#define REGRUN_DEVICE_WRITE 19
#define REGRUN_DEVICE_CLOSE 20
#define REGRUN_CLOCK_SET 21
#define REGRUN_CRASH 22
#define REGRUN_SHUTDOWN 23
#define REGRUN_QUIESCE 24
#define REGRUN_POOL_TAGS 25
#define REGRUN_POOL_VERIFIED 26
#define REGRUN_OPEN_KEYS 27
#define REGRUN_HOLD 28
#define REGRUN_SERVICE_VALUES 29

#define REGRUN_NO_HOLD 0xFFFFFFFF

/* Reply types: the request's type with REGRUN_REPLY, or REGRUN_FAILED with the map
 * {error REGRUN_ERROR_xxx, message text, status NTSTATUS|null, win32|null} */
#define REGRUN_REPLY 0x8000
#define REGRUN_FAILED 0xFFFF

#define REGRUN_ERROR_UNKNOWN_REQUEST 1
#define REGRUN_ERROR_MALFORMED 2               /* payload is not what the request takes */
#define REGRUN_ERROR_LIMIT 3
#define REGRUN_ERROR_SYSTEM 4                  /* the system said no: status or win32 says what */
#define REGRUN_ERROR_UNSUPPORTED 5             /* this system has no such thing, or only pretends to */
#define REGRUN_ERROR_MEMORY 6
#define REGRUN_ERROR_PROTOCOL 7                /* the frame's major version is not the runner's */

typedef struct _REGRUN_FRAME {
    uint32_t magic;
    uint8_t major;                             /* REGRUN_PROTOCOL_MAJOR */
    uint8_t reserved;                          /* 0 */
    uint16_t type;
    uint32_t id;                               /* chosen by the host, not 0 */
    uint32_t length;
    uint32_t payload_crc;                      /* CRC-32 (IEEE 802.3, as zlib) of the payload; 0 for none */
    uint32_t header_crc;                       /* CRC-32 of the 20 bytes before */
} REGRUN_FRAME;

#endif
