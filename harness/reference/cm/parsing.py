"""Creating and opening keys by path: one call of the key type's parse routine."""

from __future__ import annotations

from harness.registry.access import (
    KEY_CREATE_LINK,
    KEY_CREATE_SUB_KEY,
    KEY_WOW64_RES,
    ObjectAttributes,
)
from harness.registry.options import REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY, KeyOptions
from harness.registry.paths import split
from harness.registry.status import NTSTATUS

from .key import Key
from .names import MAX_DEPTH, is_key_name
from .namespace import Found, Link, Missing, Refused, walk
from .requests import ParseRequest, ParseResult
from .security import SecurityDescriptor, SecurityError
from .store import Store
from .tokens import access_check, assign_security, backup_access
from .transaction import Transaction
from .wow64 import wants_32_bit

__all__ = ["Parsing"]


class Parsing(Store):
    """Look-up, access check and creation."""

    def parse(self, start: Key, request: ParseRequest) -> ParseResult:
        """Open or create `request.name` below `start`; see ParseResult for the outcomes.

        OBJECT_NAME_NOT_FOUND for a missing key, and for a create that lacks more than its last level;
        ACCESS_DENIED by the descriptor and for anything at or below \\REGISTRY\\A from above (B-APP-03).
        Doubled and trailing backslashes are ignored; no page says what they do.
        """
        if (
            request.desired_access & KEY_WOW64_RES == KEY_WOW64_RES
            and self.version.refuses_both_views
            and self.pointer_size == 8
        ):
            return ParseResult(NTSTATUS.INVALID_PARAMETER)
        names = list(split(request.name))
        if self.redirector is not None and wants_32_bit(request.desired_access, wow64=request.caller.wow64):
            start, names = self.redirector.redirect(start, names)
        place = walk(
            start,
            names,
            registry=self.root,
            open_link=bool(
                request.options & KeyOptions.OPEN_LINK or request.attributes & ObjectAttributes.OPENLINK
            ),
            internal=request.internal,
            view=request.transaction,
        )
        match place:
            case Refused():
                return ParseResult(place.status)
            case Link():
                return ParseResult(NTSTATUS.REPARSE, reparse=place.path)
            case Found():
                return self._open(place.key, request)
            case Missing():
                if not request.create or len(place.names) > 1:
                    return ParseResult(NTSTATUS.OBJECT_NAME_NOT_FOUND)
                return self._create(place.parent, place.names[0], request)

    def _grant(self, security: SecurityDescriptor, request: ParseRequest) -> tuple[int, int]:
        caller = request.caller
        if request.options & KeyOptions.BACKUP_RESTORE:
            granted = backup_access(caller.token)
            # Without either privilege it is as if the option were not given: regcreatekeyexa says "attempts".
            if granted:
                return NTSTATUS.SUCCESS, granted
        return access_check(security, caller.token, request.desired_access, checked=caller.checked)

    def _open(self, key: Key, request: ParseRequest) -> ParseResult:
        status = key.status(request.transaction)
        if status != NTSTATUS.SUCCESS:
            return ParseResult(status)
        status, granted = self._grant(key.state(request.transaction).security, request)
        if status != NTSTATUS.SUCCESS:
            return ParseResult(status)
        status = NTSTATUS.PREDEFINED_HANDLE if key.is_predefined else NTSTATUS.SUCCESS
        return ParseResult(status, key, granted, REG_OPENED_EXISTING_KEY)

    def _create(self, parent: Key, name: str, request: ParseRequest) -> ParseResult:
        view, caller = request.transaction, request.caller
        volatile = bool(request.options & KeyOptions.VOLATILE)
        is_link = bool(request.options & KeyOptions.CREATE_LINK)
        if parent.hive is self.master or not is_key_name(name):
            # Only hives live directly below \REGISTRY, MACHINE and USER.
            return ParseResult(NTSTATUS.INVALID_PARAMETER)
        rights = KEY_CREATE_SUB_KEY | (KEY_CREATE_LINK if is_link else 0)
        above = parent.state(view).security
        status, _ = access_check(above, caller.token, rights, checked=caller.checked)
        if status != NTSTATUS.SUCCESS:
            return ParseResult(status)
        if parent.volatile and not volatile:
            return ParseResult(NTSTATUS.CHILD_MUST_BE_VOLATILE)
        if parent.depth() + 1 > MAX_DEPTH:
            return ParseResult(NTSTATUS.INVALID_PARAMETER)
        try:
            explicit = (
                SecurityDescriptor.decode(request.security_descriptor)
                if request.security_descriptor
                else None
            )
        except SecurityError:
            return ParseResult(NTSTATUS.INVALID_SECURITY_DESCR)
        security = parent.hive.security or assign_security(above, explicit, caller.token)
        status, granted = self._grant(security, request)
        if status == NTSTATUS.SUCCESS:
            status = Transaction.enter(view, parent)
        if status != NTSTATUS.SUCCESS:
            return ParseResult(status)
        key = self.add_key(
            parent,
            name,
            security,
            class_name=request.class_name,
            volatile=volatile,
            is_link=is_link,
            transaction=view,
        )
        return ParseResult(NTSTATUS.SUCCESS, key, granted, REG_CREATED_NEW_KEY)
