#include "program_impersonate.h"

#include "program_call.h"

#define DISABLE_MAX_PRIVILEGE_ 1
#define THREAD_IMPERSONATION_TOKEN 5
#define STATUS_ACCESS_DENIED_ ((NT_STATUS)0xC0000022)

typedef BOOL(WINAPI *OPEN_TOKEN)(HANDLE, DWORD, HANDLE *);
typedef BOOL(WINAPI *RESTRICT)(HANDLE, DWORD, DWORD, SID_AND_ATTRIBUTES *, DWORD, LUID_AND_ATTRIBUTES *, DWORD,
                               SID_AND_ATTRIBUTES *, HANDLE *);
typedef BOOL(WINAPI *DUPLICATE)(HANDLE, DWORD, SECURITY_ATTRIBUTES *, SECURITY_IMPERSONATION_LEVEL, TOKEN_TYPE,
                                HANDLE *);
typedef NT_STATUS(NTAPI *SET_THREAD)(HANDLE, ULONG, void *, ULONG);

/* S-1-5-32-544 */
static const unsigned char administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0};

HANDLE impersonation_token(void)
{
    HMODULE advapi = GetModuleHandleW(L"advapi32.dll");
    OPEN_TOKEN open = (OPEN_TOKEN)(void *)GetProcAddress(advapi, "OpenProcessToken");
    RESTRICT restrict_token = (RESTRICT)(void *)GetProcAddress(advapi, "CreateRestrictedToken");
    DUPLICATE duplicate = (DUPLICATE)(void *)GetProcAddress(advapi, "DuplicateTokenEx");
    SID_AND_ATTRIBUTES denied = {(void *)administrators, 0};
    HANDLE own = NULL, less = NULL, token = NULL;

    if (open != NULL && restrict_token != NULL && duplicate != NULL &&
        open(GetCurrentProcess(), TOKEN_DUPLICATE | TOKEN_QUERY | TOKEN_ASSIGN_PRIMARY, &own)) {
        if (restrict_token(own, DISABLE_MAX_PRIVILEGE_, 1, &denied, 0, NULL, 0, NULL, &less)) {
            if (!duplicate(less, TOKEN_IMPERSONATE | TOKEN_QUERY, NULL, SecurityImpersonation, TokenImpersonation,
                           &token)) {
                token = NULL;
            }
            CloseHandle(less);
        }
        CloseHandle(own);
    }
    return token;
}

void impersonation_end(void *unused)
{
    SET_THREAD set = (SET_THREAD)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtSetInformationThread");
    HANDLE none = NULL;

    (void)unused;
    if (set != NULL) {
        set(GetCurrentThread(), THREAD_IMPERSONATION_TOKEN, &none, sizeof(none));
    }
}

void prepare_impersonate(CALL *call)
{
    HANDLE *token = memory_take(&call->memory, sizeof(*token), 0);

    if (call->operation->opcode == OP_IMPERSONATE) {
        call->close_after = impersonation_token();
        if (call->close_after == NULL) {
            call_end(call, STATUS_ACCESS_DENIED_);
            return;
        }
        if (token != NULL) {
            *token = call->close_after;
        }
    }
    call->routine = "NtSetInformationThread";
    call_pass_pointer(call, GetCurrentThread());
    call_pass(call, THREAD_IMPERSONATION_TOKEN);
    call_pass_pointer(call, token);
    call_pass(call, sizeof(*token));
}
