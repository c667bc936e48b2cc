/*
 * A protector in C++ as it is made with Microsoft's compiler: globals with constructors and destructors that the
 * driver runs itself, new and delete over pool, virtual functions, locks that give themselves back, and __try where
 * memory of the requester is read. For compilers that know __try.
 *
 * harness: since 6.1
 */
extern "C" {
#include "field.h"
}

#define TAG 'trfC'

typedef void(__cdecl *INITIALISER)(void);
typedef void(__cdecl *TERMINATOR)(void);

/* The linker sorts these sections by name: what the compiler puts into .CRT$XCU lies between. */
#pragma section(".CRT$XCA", long, read)
#pragma section(".CRT$XCZ", long, read)
extern "C" __declspec(allocate(".CRT$XCA")) const INITIALISER first_initialiser = nullptr;
extern "C" __declspec(allocate(".CRT$XCZ")) const INITIALISER last_initialiser = nullptr;

static TERMINATOR terminators[16];
static ULONG terminator_count;

extern "C" int __cdecl atexit(TERMINATOR routine)
{
    if (terminator_count == RTL_NUMBER_OF(terminators)) {
        return 1;
    }
    terminators[terminator_count++] = routine;
    return 0;
}

extern "C" int __cdecl _purecall(void)
{
    KeBugCheckEx(0xDEAD, 0, 0, 0, 0);
    return 0;
}

static volatile LONG living;

void *__cdecl operator new(size_t size) noexcept
{
    void *memory = ExAllocatePoolWithTag(NonPagedPool, size, TAG);

    if (memory != nullptr) {
        InterlockedIncrement(&living);
    }
    return memory;
}

void __cdecl operator delete(void *memory) noexcept
{
    if (memory != nullptr) {
        InterlockedDecrement(&living);
        ExFreePoolWithTag(memory, TAG);
    }
}

void __cdecl operator delete(void *memory, size_t) noexcept
{
    operator delete(memory);
}

class Lock {
public:
    Lock() { ExInitializeResourceLite(&resource_); }
    ~Lock() { ExDeleteResourceLite(&resource_); }
    void Shared()
    {
        KeEnterCriticalRegion();
        ExAcquireResourceSharedLite(&resource_, TRUE);
    }
    void Exclusive()
    {
        KeEnterCriticalRegion();
        ExAcquireResourceExclusiveLite(&resource_, TRUE);
    }
    void Release()
    {
        ExReleaseResourceLite(&resource_);
        KeLeaveCriticalRegion();
    }

private:
    ERESOURCE resource_;
};

template <bool Exclusively> class Holding {
public:
    explicit Holding(Lock &lock) : lock_(lock) { Exclusively ? lock_.Exclusive() : lock_.Shared(); }
    ~Holding() { lock_.Release(); }
    Holding(const Holding &) = delete;

private:
    Lock &lock_;
};

class Rule {
public:
    virtual ~Rule() {}
    virtual bool Matches(PCUNICODE_STRING name, const UCHAR *data, ULONG size) const = 0;
    Rule *next = nullptr;
};

class NameRule : public Rule {
public:
    explicit NameRule(PCWSTR name) { RtlInitUnicodeString(&name_, name); }
    bool Matches(PCUNICODE_STRING name, const UCHAR *, ULONG) const override
    {
        return RtlEqualUnicodeString(const_cast<PUNICODE_STRING>(name), const_cast<PUNICODE_STRING>(&name_), TRUE);
    }

private:
    UNICODE_STRING name_;
};

class PatternRule : public Rule {
public:
    explicit PatternRule(UCHAR byte) : byte_(byte) {}
    bool Matches(PCUNICODE_STRING, const UCHAR *data, ULONG size) const override
    {
        for (ULONG i = 0; i + 1 < size; i++) {
            if (data[i] == byte_ && data[i + 1] == byte_) {
                return true;
            }
        }
        return false;
    }

private:
    UCHAR byte_;
};

class Book {
public:
    Book() : order_(++constructed) {}
    ~Book()
    {
        while (rules_ != nullptr) {
            Rule *rule = rules_;

            rules_ = rule->next;
            delete rule;
        }
        DbgPrint("fortress: %d living\n", static_cast<int>(living));
    }
    bool Add(Rule *rule)
    {
        if (rule == nullptr) {
            return false;
        }
        Holding<true> holding(lock_);

        rule->next = rules_;
        rules_ = rule;
        return true;
    }
    bool Forbids(PCUNICODE_STRING name, const UCHAR *data, ULONG size)
    {
        Holding<false> holding(lock_);

        for (Rule *rule = rules_; rule != nullptr; rule = rule->next) {
            if (rule->Matches(name, data, size)) {
                return true;
            }
        }
        return false;
    }
    ULONG order() const { return order_; }
    static ULONG constructed;

private:
    Lock lock_;
    Rule *rules_ = nullptr;
    ULONG order_;
};

ULONG Book::constructed;
static Book book;
static struct Marker {
    Marker() : order(++Book::constructed) {}
    ~Marker() { DbgPrint("fortress: marker\n"); }
    ULONG order;
} marker;

static LARGE_INTEGER cookie;
static volatile LONG faults;

/* A copy of the requester's data, or nullptr. Functions with __try have no objects to unwind. */
static UCHAR *Capture(PVOID data, ULONG size)
{
    UCHAR *copy = static_cast<UCHAR *>(operator new(size));

    if (copy == nullptr) {
        return nullptr;
    }
    __try {
        if (ExGetPreviousMode() == UserMode && data < MM_HIGHEST_USER_ADDRESS) {
            ProbeForRead(data, size, 1);
        }
        RtlCopyMemory(copy, data, size);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        InterlockedIncrement(&faults);
        operator delete(copy);
        return nullptr;
    }
    return copy;
}

static NTSTATUS PreSet(PREG_SET_VALUE_KEY_INFORMATION info)
{
    UCHAR *copy = nullptr;
    bool forbidden;

    if (info->DataSize != 0 && info->DataSize < 4096) {
        copy = Capture(info->Data, info->DataSize);
        if (copy == nullptr) {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    forbidden = book.Forbids(info->ValueName, copy, copy != nullptr ? info->DataSize : 0);
    operator delete(copy);
    return forbidden ? STATUS_ACCESS_DENIED : STATUS_SUCCESS;
}

static NTSTATUS NTAPI Callback(PVOID, PVOID argument1, PVOID argument2)
{
    switch (static_cast<REG_NOTIFY_CLASS>(reinterpret_cast<ULONG_PTR>(argument1))) {
    case RegNtPreSetValueKey:
        return PreSet(static_cast<PREG_SET_VALUE_KEY_INFORMATION>(argument2));
    default:
        return STATUS_SUCCESS;
    }
}

static void Construct()
{
    for (const INITIALISER *each = &first_initialiser + 1; each < &last_initialiser; each++) {
        if (*each != nullptr) {
            (*each)();
        }
    }
}

static void Destroy()
{
    while (terminator_count != 0) {
        terminators[--terminator_count]();
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT)
{
    CmUnRegisterCallback(cookie);
    Destroy();
}

extern "C" NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING)
{
    UNICODE_STRING altitude;
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    Construct();
    RtlInitUnicodeString(&altitude, L"330055");
    if (book.Add(new NameRule(L"forbidden")) && book.Add(new PatternRule(0xEE))) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, nullptr, &cookie, nullptr);
    }
    if (!NT_SUCCESS(status)) {
        Destroy();
        return status;
    }
    DbgPrint("fortress: constructed %u, %u\n", book.order(), marker.order);
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
