"""What the model does where the documentation is silent.

A suite records these instead of asserting them: agreeing with the model proves nothing about Windows, and
differing from it is no failure. The catalogue marks the same statements with a mode that starts with
"record".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["UNSPECIFIED"]

#: Behaviour id -> what the reference guest does there.
UNSPECIFIED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "B-REG-09": (
            "altitudes compare by value, so 380010, 380010.0 and 0380010 collide; text that is no "
            "decimal number, the empty one included, gets STATUS_INVALID_PARAMETER; any length is "
            "accepted"
        ),
        "B-REG-23": ("a callback may register another callback; it sees operations that begin afterwards"),
        "B-REG-29": "CmRegisterCallback puts a callback at altitude 425000",
        "B-REG-30": ("of two legacy callbacks the one registered first sees the pre notification first"),
        "B-REG-31": (
            "an Ex registration at 425000 does not collide with legacy ones and lies among them by age"
        ),
        "B-NOT-11": "before Vista STATUS_CALLBACK_BYPASS from a pre notification is a plain failure",
        "B-NOT-16": (
            "the handle gets GrantedAccess as the callback left it: 0 when it wrote nothing; bits "
            "that are no key rights, MAXIMUM_ALLOWED among them, are dropped"
        ),
        "B-NOT-23": ("a Status written by a post callback is seen by later callbacks and ignored otherwise"),
        "B-NOT-24": "a plain failure returned from post is ignored; the other posts are delivered",
        "B-NOT-28": "edited input members are ignored: the operation uses what the requester passed",
        "B-NOT-34": "a name the object manager can't start to parse fails without a notification",
        "B-NOT-35": "a bad handle or missing access fails without a notification",
        "B-NOT-36": ("whatever pre handle-close returns, lower callbacks see it and the post is delivered"),
        "B-NOT-38": "workload programs make native calls: one call, one operation",
        "B-NOT-41": "outputs a blocking callback wrote stay in the requester's buffer",
        "B-NOT-42": (
            "close notifications belong to the last reference of the key object, not to each handle"
        ),
        "B-LAY-02": "post notifications go from the lowest altitude to the highest",
        "B-LAY-07": "Status and ReturnStatus of the higher post are the blocking status",
        "B-LAY-08": "Status of the higher post is STATUS_SUCCESS after a bypass",
        "B-LAY-09": "callback version 1.0 ignores the override, 1.1 honours it",
        "B-LAY-10": "callback version 1.0 shows RootObject in Object of that post",
        "B-LAY-13": "a registry call from another thread starts at the top of the stack",
        "B-LAY-15": (
            "before Vista a callback's registry calls are shown to every callback, itself "
            "included; no post follows when some callback blocked"
        ),
        "B-LAY-18": "CallContext is NULL in every pre notification",
        "B-LAY-20": "a callback registered during an operation sees nothing of it",
        "B-LAY-21": "the post of a callback unregistered during the operation is dropped",
        "B-CTX-05": "a duplicated handle shares the key object and so the context",
        "B-CTX-09": (
            "the post of create and open shows the context of the new object, which is NULL "
            "unless it was set since"
        ),
        "B-CTX-11": "a notification that is running keeps the old value; its post shows the new one",
        "B-CTX-12": "one cleanup per object and cookie, with the last value",
        "B-CTX-17": ("CmSetCallbackObjectContext with an unknown cookie or object: STATUS_INVALID_PARAMETER"),
        "B-CTX-18": "binding NULL removes the binding; no cleanup follows",
        "B-INF-08": "an identifier lives as long as the key and is not used again",
        "B-INF-11": "a name first asked for after the rename is the new one",
        "B-OBJ-02": (
            "Object is a kernel address that is never mapped when Status is a success other than "
            "STATUS_SUCCESS"
        ),
        "B-OBJ-09": "Object of post load and of post merged save is NULL",
        "B-OBJ-10": "Object of pre load is the object of RootDirectory, NULL for an absolute name",
        "B-OBJ-11": ("ObOpenObjectByPointer on a create/open post object: STATUS_ACCESS_DENIED from 6.3 on"),
        "B-CRE-08": (
            "CheckAccessMode is KernelMode for kernel requests without OBJ_FORCE_ACCESS_CHECK, else UserMode"
        ),
        "B-CRE-10": (
            "the flag shown is the one of the access mask; CompleteName is as the requester gave it"
        ),
        "B-CRE-11": "both WOW64 flags: STATUS_INVALID_PARAMETER before any notification",
        "B-CRE-16": "Class of an open is NULL",
        "B-CRE-17": "SecurityDescriptor of an open is what the object attributes carry",
        "B-CRE-20": (
            "each round of a symbolic link has its own pre and post; the first post has STATUS_REPARSE"
        ),
        "B-CRE-21": "a link opened without OBJ_OPENLINK is followed",
        "B-CAP-01": "a bad pointer of a user-mode requester fails the call without a notification",
        "B-CAP-04": "on 5.1 to 6.1 exactly the members of the sample's list are user addresses",
        "B-CAP-12": "Class->Buffer is a user address on 5.1 to 6.1",
        "B-TXN-03": "a child created through a transacted handle belongs to the transaction",
        "B-TXN-05": "commit and rollback cause no notification",
        "B-TXN-10": (
            "an operation on a handle whose transaction has ended is notified and fails with "
            "STATUS_TRANSACTION_NOT_ACTIVE"
        ),
        "B-TXN-11": "an operation outside the transaction that changes what it changed rolls it back",
        "B-TXN-13": "Transaction and CmGetBoundTransaction show the lightweight transaction's object",
        "B-APP-04": (
            "opening an application hive relative to the \\REGISTRY object is denied like the absolute name"
        ),
        "B-APP-05": "loading an application hive is shown with its \\REGISTRY\\A\\... name in KeyName",
        "B-APP-07": "the automatic unload of an application hive causes no notification",
        "B-APP-08": "pre and post set security are delivered, the post with STATUS_ACCESS_DENIED",
        "B-APP-13": "in one process REG_PROCESS_APPKEY refuses a second load as well",
        "B-APP-15": "RootHandle is non-NULL for application hives only",
        "B-APP-16": "load is reported for NtLoadKey, NtLoadKey2 and NtLoadKeyEx from both modes",
        "B-APP-17": "a blocked load leaves the file alone",
        "B-HIV-06": (
            "from 10.0.20348 the load structure is the V2 one with Version 2 and a NULL FileAccessToken"
        ),
        "B-HIV-07": "a key handle of a filter makes the unload fail with STATUS_CANNOT_DELETE",
        "B-HIV-08": (
            "unload opens the hive's root with the notifications of an open first and closes it "
            "last, on every version"
        ),
        "B-HIV-11": "a format the save refuses is refused after the pre notification",
        "B-HIV-12": "NtSaveKey shows REG_STANDARD_FORMAT",
        "B-HIV-14": "FileHandle is the requester's handle value",
        "B-HIV-15": "a failing merged save is notified as well",
        "B-HIV-18": "NtQueryObject and ObQueryNameString on a key object are name queries",
        "B-HIV-20": (
            "a short buffer gets STATUS_INFO_LENGTH_MISMATCH, from build 17133 on STATUS_SUCCESS "
            "with a return length beyond the buffer"
        ),
        "B-HIV-21": "NtQueryKey(KeyNameInformation) is a query of the key",
        "B-HIV-26": "restore notifies nothing but itself",
        "B-VER-13": "on 5.1 the posts of create and open come for failures too",
    }
)
