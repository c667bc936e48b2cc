"""Layouts of the kernel structures a driver reads and writes itself, for x64 and x86.

Written from the public declarations (wdm.h, ntddk.h, ntifs.h): members in order with natural alignment.
`tests/reference/test_kernel_layouts.py` compares every offset with what the mingw-w64 DDK headers give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["STRUCTURES", "Layout", "View", "layout"]

#: kind -> (size x64, alignment x64, size x86, alignment x86)
_KINDS: Final[dict[str, tuple[int, int, int, int]]] = {
    "u8": (1, 1, 1, 1),
    "u16": (2, 2, 2, 2),
    "u32": (4, 4, 4, 4),
    "u64": (8, 8, 8, 8),
    "ptr": (8, 8, 4, 4),
    "u32x64": (4, 4, 0, 1),  # a ULONG only x64 has
    "list": (16, 8, 8, 4),  # LIST_ENTRY
    "ustr": (16, 8, 8, 4),  # UNICODE_STRING
    "iosb": (16, 8, 8, 4),  # IO_STATUS_BLOCK
    "header": (24, 8, 16, 4),  # DISPATCHER_HEADER
    "waitqueue": (40, 8, 20, 4),  # KDEVICE_QUEUE
    "dpc": (64, 8, 32, 4),  # KDPC
    "wcb": (72, 8, 40, 4),  # WAIT_CONTEXT_BLOCK, the Queue union of DEVICE_OBJECT
    "major": (8 * 28, 8, 4 * 28, 4),  # PDRIVER_DISPATCH MajorFunction[28]
    "slist": (16, 16, 8, 8),  # SLIST_HEADER
    "links": (32, 8, 16, 4),  # RTL_BALANCED_LINKS
    "splay": (24, 8, 12, 4),  # RTL_SPLAY_LINKS
    "u64tail": (8, 8, 8, 4),
    "ptr4": (32, 8, 16, 4),
    "subject": (32, 8, 16, 4),  # SECURITY_SUBJECT_CONTEXT
    "gap16": (16, 8, 8, 4),
}

#: name -> members in declaration order. GENERAL_LOOKASIDE and ACCESS_STATE stop at the last documented
#: member.
STRUCTURES: Final[dict[str, str]] = {
    "DRIVER_OBJECT": "Type:u16 Size:u16 DeviceObject:ptr Flags:u32 DriverStart:ptr DriverSize:u32 "
    "DriverSection:ptr "
    "DriverExtension:ptr DriverName:ustr HardwareDatabase:ptr FastIoDispatch:ptr DriverInit:ptr "
    "DriverStartIo:ptr "
    "DriverUnload:ptr MajorFunction:major",
    "DRIVER_EXTENSION": "DriverObject:ptr AddDevice:ptr Count:u32 ServiceKeyName:ustr",
    "DEVICE_OBJECT": "Type:u16 Size:u16 ReferenceCount:u32 DriverObject:ptr NextDevice:ptr "
    "AttachedDevice:ptr "
    "CurrentIrp:ptr Timer:ptr Flags:u32 Characteristics:u32 Vpb:ptr DeviceExtension:ptr DeviceType:u32 "
    "StackSize:u8 "
    "Queue:wcb AlignmentRequirement:u32 DeviceQueue:waitqueue Dpc:dpc ActiveThreadCount:u32 "
    "SecurityDescriptor:ptr "
    "DeviceLock:header SectorSize:u16 Spare1:u16 DeviceObjectExtension:ptr Reserved:ptr",
    "IRP": "Type:u16 Size:u16 MdlAddress:ptr Flags:u32 SystemBuffer:ptr ThreadListEntry:list Status:ptr "
    "Information:ptr RequestorMode:u8 PendingReturned:u8 StackCount:u8 CurrentLocation:u8 Cancel:u8 "
    "CancelIrql:u8 "
    "ApcEnvironment:u8 AllocationFlags:u8 UserIosb:ptr UserEvent:ptr Overlay:gap16 CancelRoutine:ptr "
    "UserBuffer:ptr "
    "DriverContext:ptr4 Thread:ptr AuxiliaryBuffer:ptr ListEntry:list CurrentStackLocation:ptr "
    "OriginalFileObject:ptr CompletionKey:u64tail",
    "IO_STACK_LOCATION": "MajorFunction:u8 MinorFunction:u8 Flags:u8 Control:u8 Parameters:ptr4 "
    "DeviceObject:ptr "
    "FileObject:ptr CompletionRoutine:ptr Context:ptr",
    "FILE_OBJECT": "Type:u16 Size:u16 DeviceObject:ptr Vpb:ptr FsContext:ptr FsContext2:ptr "
    "SectionObjectPointer:ptr "
    "PrivateCacheMap:ptr FinalStatus:u32 RelatedFileObject:ptr LockOperation:u8 DeletePending:u8 "
    "ReadAccess:u8 "
    "WriteAccess:u8 DeleteAccess:u8 SharedRead:u8 SharedWrite:u8 SharedDelete:u8 Flags:u32 FileName:ustr "
    "CurrentByteOffset:u64 Waiters:u32 Busy:u32 LastLock:ptr Lock:header Event:header CompletionContext:ptr "
    "IrpListLock:ptr IrpList:list FileObjectExtension:ptr",
    "MDL": "Next:ptr Size:u16 MdlFlags:u16 Process:ptr MappedSystemVa:ptr StartVa:ptr ByteCount:u32 "
    "ByteOffset:u32",
    "KEVENT": "Type:u8 Absolute:u8 Size:u8 Inserted:u8 SignalState:u32 WaitListHead:list",
    "KMUTEX": "Type:u8 Absolute:u8 Size:u8 Inserted:u8 SignalState:u32 WaitListHead:list "
    "MutantListEntry:list "
    "OwnerThread:ptr Abandoned:u8 ApcDisable:u8",
    "KSEMAPHORE": "Type:u8 Absolute:u8 Size:u8 Inserted:u8 SignalState:u32 WaitListHead:list Limit:u32",
    "KTIMER": "Type:u8 Absolute:u8 Size:u8 Inserted:u8 SignalState:u32 WaitListHead:list DueTime:u64 "
    "TimerListEntry:list Dpc:ptr Processor:u32x64 Period:u32",
    "KDPC": "Type:u8 Importance:u8 Number:u16 DpcListEntry:list DeferredRoutine:ptr DeferredContext:ptr "
    "SystemArgument1:ptr SystemArgument2:ptr DpcData:ptr",
    "FLT_REGISTRATION": "Size:u16 Version:u16 Flags:u32 ContextRegistration:ptr OperationRegistration:ptr "
    "FilterUnloadCallback:ptr",
    "KQUEUE": "Type:u8 Absolute:u8 Size:u8 Inserted:u8 SignalState:u32 WaitListHead:list EntryListHead:list "
    "CurrentCount:u32 MaximumCount:u32 ThreadListHead:list",
    "UNICODE_PREFIX_TABLE_ENTRY": "NodeTypeCode:u16 NameLength:u16 NextPrefixTree:ptr CaseMatch:ptr "
    "Links:splay Prefix:ptr",
    "FAST_MUTEX": "Count:u32 Owner:ptr Contention:u32 Event:header OldIrql:u32",
    "GENERAL_LOOKASIDE": "ListHead:slist Depth:u16 MaximumDepth:u16 TotalAllocates:u32 AllocateMisses:u32 "
    "TotalFrees:u32 FreeMisses:u32 Type:u32 Tag:u32 Size:u32 Allocate:ptr Free:ptr",
    "RTL_AVL_TABLE": "BalancedRoot:links OrderedPointer:ptr WhichOrderedElement:u32 "
    "NumberGenericTableElements:u32 "
    "DepthOfTree:u32 RestartKey:ptr DeleteCount:u32 CompareRoutine:ptr AllocateRoutine:ptr FreeRoutine:ptr "
    "TableContext:ptr",
    "RTL_BALANCED_LINKS": "Parent:ptr LeftChild:ptr RightChild:ptr Balance:u8",
    "OBJECT_ATTRIBUTES": "Length:u32 RootDirectory:ptr ObjectName:ptr Attributes:u32 SecurityDescriptor:ptr "
    "SecurityQualityOfService:ptr",
    "PS_CREATE_NOTIFY_INFO": "Size:ptr Flags:u32 ParentProcessId:ptr CreatingProcessId:ptr "
    "CreatingThreadId:ptr "
    "FileObject:ptr ImageFileName:ptr CommandLine:ptr CreationStatus:u32",
    "IMAGE_INFO": "Properties:u32 ImageBase:ptr ImageSelector:u32 ImageSize:ptr ImageSectionNumber:u32",
    "SECURITY_SUBJECT_CONTEXT": "ClientToken:ptr ImpersonationLevel:u32 PrimaryToken:ptr ProcessAuditId:ptr",
    "ACCESS_STATE": "OperationID:u64 SecurityEvaluated:u8 GenerateAudit:u8 GenerateOnClose:u8 "
    "PrivilegesAllocated:u8 Flags:u32 RemainingDesiredAccess:u32 PreviouslyGrantedAccess:u32 "
    "OriginalDesiredAccess:u32 SubjectSecurityContext:subject SecurityDescriptor:ptr AuxData:ptr",
    "IO_SECURITY_CONTEXT": "SecurityQos:ptr AccessState:ptr DesiredAccess:u32 FullCreateOptions:u32",
    "SECURITY_DESCRIPTOR": "Revision:u8 Sbz1:u8 Control:u16 Owner:ptr Group:ptr Sacl:ptr Dacl:ptr",
    "UNICODE_STRING": "Length:u16 MaximumLength:u16 Buffer:ptr",
    "OB_CALLBACK_REGISTRATION": "Version:u16 OperationRegistrationCount:u16 Altitude:ustr "
    "RegistrationContext:ptr "
    "OperationRegistration:ptr",
    "IO_STATUS_BLOCK": "Status:ptr Information:ptr",
    "KLDR_DATA_TABLE_ENTRY": "InLoadOrderLinks:list ExceptionTable:ptr ExceptionTableSize:u32 GpValue:ptr "
    "NonPagedDebugInfo:ptr DllBase:ptr EntryPoint:ptr SizeOfImage:u32 FullDllName:ustr BaseDllName:ustr "
    "Flags:u32 LoadCount:u16",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """One structure for one pointer size: `fields` maps a member to (offset, size in bytes)."""

    name: str
    size: int
    fields: dict[str, tuple[int, int]]

    def offset(self, member: str) -> int:
        return self.fields[member][0]

    def at(self, memory: Memory, address: int) -> View:
        return View(memory, address, self)


class View:
    """A structure in guest memory; members are read and written by name as unsigned integers.

    Raises `GuestFault` when the memory is not there, exactly as an access by the kernel would.
    """

    __slots__ = ("_fields", "address", "memory")

    def __init__(self, memory: Memory, address: int, layout: Layout) -> None:
        self.memory = memory
        self.address = address
        self._fields = layout.fields

    def of(self, member: str) -> int:
        """The address of a member."""
        return self.address + self._fields[member][0]

    def __getitem__(self, member: str) -> int:
        offset, size = self._fields[member]
        memory, address = self.memory, self.address + offset
        if size == 8:
            return memory.u64(address)
        if size == 4:
            return memory.u32(address)
        if size == 2:
            return memory.u16(address)
        return memory.u8(address)

    def __setitem__(self, member: str, value: int) -> None:
        offset, size = self._fields[member]
        memory, address = self.memory, self.address + offset
        if size == 8:
            memory.put_u64(address, value & 0xFFFFFFFFFFFFFFFF)
        elif size == 4:
            memory.put_u32(address, value & 0xFFFFFFFF)
        elif size == 2:
            memory.put_u16(address, value & 0xFFFF)
        else:
            memory.put_u8(address, value & 0xFF)


@cache
def layout(name: str, pointer_size: int) -> Layout:
    """The layout of structure `name` for pointers of 8 or 4 bytes. Raises KeyError for an unknown name."""
    wide = pointer_size == 8
    fields: dict[str, tuple[int, int]] = {}
    offset = 0
    largest = 1
    for member in STRUCTURES[name].split():
        label, kind = member.split(":")
        size64, align64, size32, align32 = _KINDS[kind]
        size, align = (size64, align64) if wide else (size32, align32)
        offset = -(-offset // align) * align
        fields[label] = (offset, size)
        offset += size
        largest = max(largest, align)
    return Layout(name, -(-offset // largest) * largest, fields)
