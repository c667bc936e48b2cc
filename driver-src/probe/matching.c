/*
 * Does a notification meet the conditions of a rule?
 */
#include "regprobe_internal.h"

/* The key a notification is about: where create and open lead to, else the key of the object. */
static BOOLEAN KeyMatches(NOTIFICATION *notification, const RULE *rule)
{
    static const UNICODE_STRING nothing = {0, 0, NULL};
    const BOOLEAN or_below = (rule->request.match & REGPROBE_MATCH_KEY_PREFIX) != 0;
    const BOOLEAN names_path = notification->is_create_or_open || notification->pre_class == CLASS_XP_PRE_CREATE
        || notification->pre_class == CLASS_XP_PRE_OPEN || notification->pre_class == CLASS_PRE_LOAD;
    const BOOLEAN absolute = notification->name.Length != 0 && notification->name.Buffer[0] == L'\\';
    PVOID start = notification->is_create_or_open ? notification->root_object : notification->object;
    KEY_NAME fetched = {0};
    PCUNICODE_STRING base = notification->object_name.text;
    BOOLEAN matches;
    ULONG64 id;

    if (names_path && notification->pre != NULL) {
        if (!notification->name_complete) {
            return FALSE; /* unreadable or longer than what was captured: nothing can be said */
        }
        if (absolute) {
            return PathMatches(&notification->name, &nothing, &rule->key, or_below);
        }
        if (notification->post != NULL || base == NULL) {
            base = NULL; /* in post the name at hand is that of the result */
        }
    } else if (!notification->may_name_object) {
        return FALSE;
    } else {
        start = notification->object;
    }
    if (base == NULL) {
        if (start == NULL || !NT_SUCCESS(KeyNameFetch(notification->filter, start, &fetched, &id))) {
            return FALSE;
        }
        base = fetched.text;
    }
    matches = base != NULL
        && PathMatches(
            base, names_path && notification->pre != NULL ? &notification->name : &nothing, &rule->key, or_below);
    KeyNameRelease(&fetched);
    return matches;
}

static BOOLEAN ValueNameMatches(const NOTIFICATION *notification, const RULE *rule)
{
    ULONG index;

    if (!ClassHasValueName(notification->pre_class) || !notification->name_complete
        || notification->name.Length != rule->value_name.Length) {
        return FALSE;
    }
    for (index = 0; index < notification->name.Length / sizeof(WCHAR); index++) {
        if (FoldCharacter(notification->name.Buffer[index]) != rule->value_name.Buffer[index]) {
            return FALSE;
        }
    }
    return TRUE;
}

BOOLEAN RuleMatches(NOTIFICATION *notification, RULE *rule)
{
    const REGPROBE_RULE *request = &rule->request;
    const REGPROBE_EVENT *event = &notification->record->event;
    const ULONG match = request->match;
    const ULONG half = (ULONG)(notification->notify_class < 32 ? request->classes : request->classes >> 32);

    /* Cheap conditions first; a key name may have to be asked for. */
    if (!(half & (1U << (notification->notify_class & 31)))) {
        return FALSE;
    }
    if ((match & REGPROBE_MATCH_PROCESS) && event->process_id != request->process_id) {
        return FALSE;
    }
    if ((match & REGPROBE_MATCH_THREAD) && event->thread_id != request->thread_id) {
        return FALSE;
    }
    if ((match & REGPROBE_MATCH_PREVIOUS_MODE) && event->previous_mode != request->previous_mode) {
        return FALSE;
    }
    if ((match & REGPROBE_MATCH_STATUS) && !(event->is_post && event->status == request->match_status)) {
        return FALSE;
    }
    if ((match & REGPROBE_MATCH_VALUE_NAME) && !ValueNameMatches(notification, rule)) {
        return FALSE;
    }
    if ((match & (REGPROBE_MATCH_KEY_EXACT | REGPROBE_MATCH_KEY_PREFIX)) && !KeyMatches(notification, rule)) {
        return FALSE;
    }
    return TRUE;
}
