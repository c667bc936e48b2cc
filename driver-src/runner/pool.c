/*
 * Two of the kernel's own accounts of its pool, both through NtQuerySystemInformation:
 *
 * - by tag, what PoolMon shows (devtest/poolmon-display): counts since the boot over all drivers. Always kept since
 *   Windows Server 2003, before that with a flag of GFlags alone (debugger/enable-pool-tagging);
 * - by driver, what "verifier /query" shows of drivers under Driver Verifier with pool tracking on
 *   (devtest/monitoring-individual-counters, devtest/pool-tracking).
 *
 * Neither structure is in a header of Microsoft's; both are as the symbols of the kernel have them. A name that
 * does not lie inside what came back is how a layout that is not known gives itself away.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "protocol.h"

#define CLASS_POOL_TAGS 22
#define CLASS_VERIFIER 51

typedef struct POOL_TAG {
    unsigned char tag[POOL_TAG_SIZE];
    ULONG paged_allocs, paged_frees;
    SIZE_T paged_bytes;
    ULONG nonpaged_allocs, nonpaged_frees;
    SIZE_T nonpaged_bytes;
} POOL_TAG;

typedef struct POOL_TAGS {
    ULONG count;
    POOL_TAG tag[];
} POOL_TAGS;

/* What stands behind the driver's name. */
typedef struct VERIFIED_COUNTS {
    ULONG others[14];
    ULONG paged, nonpaged, peak_paged, peak_nonpaged;
    SIZE_T paged_bytes, nonpaged_bytes, peak_paged_bytes, peak_nonpaged_bytes;
} VERIFIED_COUNTS;

typedef struct VERIFIED {
    ULONG next, flags;
    NT_STRING name;
    VERIFIED_COUNTS counts;
} VERIFIED;

/* Since Windows 10 1703 or so: rule classes, a triage context and flags before the name. */
typedef struct VERIFIED_WITH_RULES {
    ULONG next, flags;
    ULONG rules[4];
    NT_STRING name;
    VERIFIED_COUNTS counts;
} VERIFIED_WITH_RULES;

/* NULL with the failure in `reply`. */
static void *query(ULONG class, const char *what, ULONG *size, REPLY *reply)
{
    NT_STATUS status;
    void *data;

    if (native_is_wow64()) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "a 32-bit runner can't look into a 64-bit kernel");
        return NULL;
    }
    data = native_query_system(class, size, &status);
    if (data == NULL) {
        reply_fail_status(reply, what, status);
    }
    return data;
}

static BOOL is_asked_for(const unsigned char *tag, const VALUE *tags)
{
    size_t at;

    for (at = 0; at < tags->size; at += POOL_TAG_SIZE) {
        if (memcmp(tags->bytes + at, tag, POOL_TAG_SIZE) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static void reply_tag(REPLY *reply, const POOL_TAG *tag)
{
    unsigned outside = reply->pairs;

    cbor_put_map(&reply->body, 7);
    reply_bytes(reply, "tag", tag->tag, sizeof(tag->tag));
    reply_uint(reply, "paged_allocs", tag->paged_allocs);
    reply_uint(reply, "paged_frees", tag->paged_frees);
    reply_uint(reply, "paged_bytes", tag->paged_bytes);
    reply_uint(reply, "nonpaged_allocs", tag->nonpaged_allocs);
    reply_uint(reply, "nonpaged_frees", tag->nonpaged_frees);
    reply_uint(reply, "nonpaged_bytes", tag->nonpaged_bytes);
    reply->pairs = outside;
}

/* tags */
void pool_tags(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    ULONG size, count, index, found = 0;
    POOL_TAGS *known;
    int counting;

    (void)request;
    if (values[0].size % POOL_TAG_SIZE != 0) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "a pool tag has %d bytes", POOL_TAG_SIZE);
        return;
    }
    known = query(CLASS_POOL_TAGS, "the kernel does not tell its pool by tag", &size, reply);
    if (known == NULL) {
        return;
    }
    count = size < offsetof(POOL_TAGS, tag) ? 0 : (ULONG)((size - offsetof(POOL_TAGS, tag)) / sizeof(POOL_TAG));
    count = count != 0 && known->count < count ? known->count : count;
    for (counting = 1; counting >= 0; counting--) {
        if (!counting) {
            reply_key(reply, "tags");
            cbor_put_array(&reply->body, found);
        }
        for (index = 0; index < count; index++) {
            if (!is_asked_for(known->tag[index].tag, &values[0])) {
                continue;
            }
            if (counting) {
                found++;
            } else {
                reply_tag(reply, &known->tag[index]);
            }
        }
    }
    free(known);
}

/* Whether a name lies inside the entry that begins at `at`; what is checked says nothing of other layouts. */
static BOOL lies_inside(const NT_STRING *name, const unsigned char *data, ULONG size, ULONG at)
{
    ULONG_PTR first = (ULONG_PTR)name->buffer - (ULONG_PTR)data;

    return name->length != 0 && name->length % sizeof(wchar_t) == 0 && name->length <= name->maximum && first > at &&
           first % sizeof(wchar_t) == 0 && first <= size && name->length <= size - first;
}

/* The name and the counts of the entry at `at`; FALSE when it is laid out in no known way. */
static BOOL read_verified(const unsigned char *data, ULONG size, ULONG at, NT_STRING *name, VERIFIED_COUNTS *counts)
{
    VERIFIED plain;
    VERIFIED_WITH_RULES ruled;

    if (size - at >= sizeof(ruled)) {
        memcpy(&ruled, data + at, sizeof(ruled));
        if (lies_inside(&ruled.name, data, size, at)) {
            *name = ruled.name;
            *counts = ruled.counts;
            return TRUE;
        }
    }
    if (size - at >= sizeof(plain)) {
        memcpy(&plain, data + at, sizeof(plain));
        if (lies_inside(&plain.name, data, size, at)) {
            *name = plain.name;
            *counts = plain.counts;
            return TRUE;
        }
    }
    return FALSE;
}

static void put_verified(CBOR_WRITER *drivers, const NT_STRING *name, ULONG flags, const VERIFIED_COUNTS *counts)
{
    cbor_put_map(drivers, 6);
    cbor_put_text(drivers, "name");
    cbor_put_utf16(drivers, name->buffer, name->length / sizeof(wchar_t));
    cbor_put_text(drivers, "flags");
    cbor_put_unsigned(drivers, flags);
    cbor_put_text(drivers, "paged");
    cbor_put_unsigned(drivers, counts->paged);
    cbor_put_text(drivers, "nonpaged");
    cbor_put_unsigned(drivers, counts->nonpaged);
    cbor_put_text(drivers, "paged_bytes");
    cbor_put_unsigned(drivers, counts->paged_bytes);
    cbor_put_text(drivers, "nonpaged_bytes");
    cbor_put_unsigned(drivers, counts->nonpaged_bytes);
}

/* How many were put; -1 when an entry is laid out in no known way. */
static int put_all_verified(CBOR_WRITER *drivers, const unsigned char *data, ULONG size)
{
    ULONG at = 0, head[2];
    VERIFIED_COUNTS counts;
    NT_STRING name;
    int found = 0;

    while (size - at >= sizeof(head) && found < REGRUN_MAX_VERIFIED) {
        memcpy(head, data + at, sizeof(head));
        if (!read_verified(data, size, at, &name, &counts)) {
            return -1;
        }
        put_verified(drivers, &name, head[1], &counts);
        found++;
        if (head[0] == 0 || head[0] > size - at) {
            break;
        }
        at += head[0];
    }
    return found;
}

void pool_verified(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    CBOR_WRITER drivers;
    ULONG size = 0;
    void *data;
    int found;

    (void)request;
    (void)values;
    data = query(CLASS_VERIFIER, "the kernel does not tell of Driver Verifier", &size, reply);
    if (data == NULL) {
        return;
    }
    cbor_writer_init(&drivers, REGRUN_MAX_PAYLOAD);
    found = put_all_verified(&drivers, data, size);
    if (found < 0) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "Driver Verifier's counters are laid out in no known way");
    } else {
        reply_key(reply, "drivers");
        cbor_put_array(&reply->body, (uint64_t)found);
        cbor_put_encoded(&reply->body, drivers.data, drivers.size);
    }
    cbor_writer_free(&drivers);
    free(data);
}
