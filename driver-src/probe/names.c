/*
 * Object ids and key names.
 *
 * Inside callbacks only the Cm routines are asked (CmCallbackGetKeyObjectIDEx from Windows 8,
 * CmCallbackGetKeyObjectID from Vista); ObQueryNameString is the only source before Vista. Which objects may
 * be asked about is decided in capture.c (B-INF-14, B-OBJ-01..07).
 */
#include "regprobe_internal.h"

#define OBJECT_NAME_FIRST_SIZE 512
#define OBJECT_NAME_MAX_SIZE 0x10000

/* The name of any kernel object, in pool of ours. PASSIVE_LEVEL. */
static NTSTATUS QueryObjectName(PVOID object, POBJECT_NAME_INFORMATION *result)
{
    ULONG size = OBJECT_NAME_FIRST_SIZE;

    for (;;) {
        POBJECT_NAME_INFORMATION information = ProbeAllocate(size);
        ULONG needed = 0;
        NTSTATUS status;

        if (information == NULL) {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        status = ObQueryNameString(object, information, size, &needed);
        if (NT_SUCCESS(status) && needed <= size) {
            *result = information;
            return STATUS_SUCCESS;
        }
        ProbeFree(information);
        /* Later Windows 10 builds answer success with a larger length for a short buffer (B-HIV-20). */
        if (needed <= size || needed > OBJECT_NAME_MAX_SIZE) {
            return NT_SUCCESS(status) ? STATUS_UNSUCCESSFUL : status;
        }
        size = needed;
    }
}

NTSTATUS KeyNameFetch(FILTER *filter, PVOID object, KEY_NAME *name, ULONG64 *object_id)
{
    ULONG_PTR id = 0;
    NTSTATUS status;

    name->text = NULL;
    name->source = NAME_NONE;
    if (probe.routines.get_key_object_id_ex != NULL && probe.routines.release_key_object_id_ex != NULL) {
        status = probe.routines.get_key_object_id_ex(&filter->cookie, object, &id, &name->text, 0);
        if (NT_SUCCESS(status) && name->text != NULL) {
            name->source = NAME_EX;
        }
    } else if (probe.routines.get_key_object_id != NULL) {
        status = probe.routines.get_key_object_id(&filter->cookie, object, &id, &name->text);
        if (NT_SUCCESS(status) && name->text != NULL) {
            name->source = NAME_BORROWED;
        }
    } else {
        POBJECT_NAME_INFORMATION information = NULL;

        status = QueryObjectName(object, &information);
        if (NT_SUCCESS(status)) {
            name->text = &information->Name;
            name->source = NAME_POOL;
        }
    }
    if (name->source == NAME_NONE) {
        name->text = NULL;
    }
    *object_id = id;
    return status;
}

VOID KeyNameRelease(KEY_NAME *name)
{
    if (name->source == NAME_EX) {
        probe.routines.release_key_object_id_ex(name->text);
    } else if (name->source == NAME_POOL) {
        ProbeFree((PVOID)CONTAINING_RECORD(name->text, OBJECT_NAME_INFORMATION, Name));
    }
    name->text = NULL;
    name->source = NAME_NONE;
}

/* A copy of an object's name in pool; the caller frees `name->Buffer` with ProbeFree. PASSIVE_LEVEL. */
NTSTATUS ObjectNameAllocate(PVOID object, PUNICODE_STRING name)
{
    POBJECT_NAME_INFORMATION information;
    NTSTATUS status = QueryObjectName(object, &information);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (information->Name.Length == 0) {
        ProbeFree(information);
        return STATUS_OBJECT_NAME_INVALID;
    }
    name->Length = name->MaximumLength = information->Name.Length;
    name->Buffer = ProbeAllocate(name->Length);
    if (name->Buffer == NULL) {
        status = STATUS_INSUFFICIENT_RESOURCES;
    } else {
        RtlCopyMemory(name->Buffer, information->Name.Buffer, name->Length);
    }
    ProbeFree(information);
    return status;
}

/* As RtlUpcaseUnicodeChar, without a call for the characters of nearly every name. */
WCHAR FoldCharacter(WCHAR character)
{
    if (character < L'a') {
        return character;
    }
    if (character <= L'z') {
        return (WCHAR)(character - (L'a' - L'A'));
    }
    return character < 0x80 ? character : RtlUpcaseUnicodeChar(character);
}

/* Characters of `text` equal those of `path` from `*position`; advances it. FALSE: they differ. */
static BOOLEAN Consume(PCUNICODE_STRING text, PCUNICODE_STRING path, ULONG *position, BOOLEAN *path_ended)
{
    ULONG length = text->Length / sizeof(WCHAR), index = 0;
    ULONG path_length = path->Length / sizeof(WCHAR);

    while (length != 0 && text->Buffer[length - 1] == L'\\') {
        length--;
    }
    if (length != 0 && *position != 0 && text->Buffer[0] != L'\\') {
        /* A separator between two parts that have none. */
        if (*position == path_length) {
            *path_ended = TRUE;
            return TRUE;
        }
        if (path->Buffer[*position] != L'\\') {
            return FALSE;
        }
        (*position)++;
    }
    for (; index < length; index++) {
        if (*position == path_length) {
            *path_ended = TRUE;
            return text->Buffer[index] == L'\\';
        }
        if (FoldCharacter(text->Buffer[index]) != path->Buffer[*position]) {
            return FALSE;
        }
        (*position)++;
    }
    return TRUE;
}

BOOLEAN PathMatches(PCUNICODE_STRING first, PCUNICODE_STRING second, PCUNICODE_STRING path, BOOLEAN or_below)
{
    ULONG position = 0;
    BOOLEAN path_ended = FALSE;

    if (!Consume(first, path, &position, &path_ended)) {
        return FALSE;
    }
    if (!path_ended && !Consume(second, path, &position, &path_ended)) {
        return FALSE;
    }
    if (path_ended) { /* the key lies below the path */
        return or_below;
    }
    return position == path->Length / sizeof(WCHAR);
}
