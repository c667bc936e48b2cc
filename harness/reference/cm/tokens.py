"""Who asks: access tokens, access checks and the security of new keys.

Sources: SecAuthZ/how-dacls-control-access-to-an-object, dacl-for-a-new-object, ace-inheritance-rules.
Mandatory integrity, restricted SIDs and conditional entries are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from harness.registry.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    GENERIC_ALL,
    GENERIC_EXECUTE,
    GENERIC_READ,
    GENERIC_WRITE,
    KEY_ALL_ACCESS,
    KEY_READ,
    KEY_WOW64_RES,
    KEY_WRITE,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
    map_generic,
)
from harness.registry.status import NTSTATUS

from .security import Ace, AceFlags, AceType, Acl, Control, SecurityDescriptor, Sid

__all__ = [
    "ADMINISTRATOR",
    "ADMINISTRATORS",
    "BACKUP",
    "RESTORE",
    "SECURITY",
    "STANDARD_USER",
    "SYSTEM",
    "TAKE_OWNERSHIP",
    "TCB",
    "Token",
    "access_check",
    "assign_security",
    "backup_access",
]

BACKUP: Final = "SeBackupPrivilege"
RESTORE: Final = "SeRestorePrivilege"
SECURITY: Final = "SeSecurityPrivilege"
TAKE_OWNERSHIP: Final = "SeTakeOwnershipPrivilege"
TCB: Final = "SeTcbPrivilege"
LOAD_DRIVER: Final = "SeLoadDriverPrivilege"

EVERYONE: Final = Sid(1, (0,))
CREATOR_OWNER: Final = Sid(3, (0,))
CREATOR_GROUP: Final = Sid(3, (1,))
OWNER_RIGHTS: Final = Sid(3, (4,))
LOCAL_SYSTEM: Final = Sid(5, (18,))
AUTHENTICATED_USERS: Final = Sid(5, (11,))
INTERACTIVE: Final = Sid(5, (4,))
ADMINISTRATORS: Final = Sid(5, (32, 544))
USERS: Final = Sid(5, (32, 545))

#: The machine part of account SIDs in the model.
_MACHINE: Final = (21, 1111111111, 2222222222, 3333333333)


#: Answers by the identity of the objects asked about, which are immutable: hashing a descriptor costs more
#: than an access check.
_GRANTS: Final[dict[tuple[int, int, int], tuple[SecurityDescriptor, Token, int]]] = {}
_INHERITED: Final[dict[tuple[int, int], tuple[SecurityDescriptor, Token, SecurityDescriptor]]] = {}
_MOST_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Token:
    """An access token with its privileges enabled."""

    user: Sid
    groups: frozenset[Sid]
    privileges: frozenset[str]
    owner: Sid  # of objects it creates
    primary_group: Sid

    def holds(self, sid: Sid) -> bool:
        """Whether the token is or belongs to `sid`."""
        return sid == self.user or sid in self.groups

    def has(self, *privileges: str) -> bool:
        """Whether all these privileges are enabled."""
        return self.privileges.issuperset(privileges)


SYSTEM: Final = Token(
    user=LOCAL_SYSTEM,
    groups=frozenset({ADMINISTRATORS, EVERYONE, AUTHENTICATED_USERS}),
    privileges=frozenset({BACKUP, RESTORE, SECURITY, TAKE_OWNERSHIP, TCB, LOAD_DRIVER}),
    owner=ADMINISTRATORS,
    primary_group=LOCAL_SYSTEM,
)
ADMINISTRATOR: Final = Token(
    user=Sid(5, (*_MACHINE, 500)),
    groups=frozenset({ADMINISTRATORS, USERS, EVERYONE, AUTHENTICATED_USERS, INTERACTIVE}),
    privileges=frozenset({BACKUP, RESTORE, SECURITY, TAKE_OWNERSHIP, LOAD_DRIVER}),
    owner=ADMINISTRATORS,
    primary_group=Sid(5, (*_MACHINE, 513)),
)
STANDARD_USER: Final = Token(
    user=Sid(5, (*_MACHINE, 1001)),
    groups=frozenset({USERS, EVERYONE, AUTHENTICATED_USERS, INTERACTIVE}),
    privileges=frozenset(),
    owner=Sid(5, (*_MACHINE, 1001)),
    primary_group=Sid(5, (*_MACHINE, 513)),
)


def _allowed(descriptor: SecurityDescriptor, token: Token, wanted: int) -> int:
    """Which of the wanted rights the DACL and ownership grant."""
    granted = denied = 0
    sids = [ace.sid for ace in descriptor.dacl or ()]
    if descriptor.owner and token.holds(descriptor.owner) and OWNER_RIGHTS not in sids:
        granted = (READ_CONTROL | WRITE_DAC) & wanted
    if token.has(TAKE_OWNERSHIP):
        granted |= WRITE_OWNER & wanted
    if descriptor.dacl is None:
        return wanted  # a NULL DACL, or none at all, allows everything
    for ace in descriptor.dacl:
        if ace.flags & AceFlags.INHERIT_ONLY or ace.sid is None:
            continue
        owner_rights = ace.sid == OWNER_RIGHTS and descriptor.owner and token.holds(descriptor.owner)
        if not owner_rights and not token.holds(ace.sid):
            continue
        mask = map_generic(ace.mask) & wanted
        if ace.type == AceType.ALLOWED:
            granted |= mask & ~denied
        elif ace.type == AceType.DENIED:
            denied |= mask & ~granted
    return granted


def _granted(descriptor: SecurityDescriptor, token: Token, wanted: int) -> int:
    """`_allowed`, worked out once for the same objects: keys share descriptors and are opened again."""
    key = id(descriptor), id(token), wanted
    known = _GRANTS.get(key)
    if known is None:
        if len(_GRANTS) >= _MOST_REMEMBERED:
            _GRANTS.clear()
        # The objects are kept with the answer, so that their ids stay theirs.
        known = _GRANTS[key] = descriptor, token, _allowed(descriptor, token, wanted)
    return known[2]


def access_check(
    descriptor: SecurityDescriptor, token: Token, desired: int, *, checked: bool = True
) -> tuple[int, int]:
    """(status, granted access) of opening a key with this descriptor.

    With checked=False (a kernel request without OBJ_FORCE_ACCESS_CHECK) everything asked for is granted.
    The WOW64 bits select a view and are no rights.
    """
    desired = map_generic(desired) & ~KEY_WOW64_RES
    wanted = desired & ~MAXIMUM_ALLOWED
    maximum = bool(desired & MAXIMUM_ALLOWED)
    if not checked:
        return NTSTATUS.SUCCESS, wanted | (KEY_ALL_ACCESS if maximum else 0)
    granted = 0
    if wanted & ACCESS_SYSTEM_SECURITY:
        if not token.has(SECURITY):
            return NTSTATUS.PRIVILEGE_NOT_HELD, 0
        granted = ACCESS_SYSTEM_SECURITY
    scope = wanted & ~ACCESS_SYSTEM_SECURITY
    granted |= _granted(descriptor, token, scope | (KEY_ALL_ACCESS if maximum else 0))
    if wanted & ~granted or (maximum and not granted):
        return NTSTATUS.ACCESS_DENIED, 0
    return NTSTATUS.SUCCESS, granted


def backup_access(token: Token) -> int:
    """What REG_OPTION_BACKUP_RESTORE grants by privilege, whatever was asked for (sdk regcreatekeyexa)."""
    granted = 0
    if token.has(BACKUP):
        granted |= ACCESS_SYSTEM_SECURITY | KEY_READ
    if token.has(RESTORE):
        granted |= ACCESS_SYSTEM_SECURITY | DELETE | KEY_WRITE
    return granted


_GENERIC: Final = GENERIC_ALL | GENERIC_EXECUTE | GENERIC_READ | GENERIC_WRITE
_INHERITANCE: Final = AceFlags.OBJECT_INHERIT | AceFlags.CONTAINER_INHERIT | AceFlags.NO_PROPAGATE


def _inherited(parent: Acl, owner: Sid, group: Sid) -> Acl:
    """What a new key inherits: container-inherit entries, generic rights mapped, creators replaced.

    An entry that changes by this and goes on to grandchildren is split: one that works here, one that only
    inherits (ace-inheritance-rules).
    """
    creators = {CREATOR_OWNER: owner, CREATOR_GROUP: group}
    result: list[Ace] = []
    for ace in parent:
        if not ace.flags & AceFlags.CONTAINER_INHERIT or ace.sid is None:
            continue
        on = 0 if ace.flags & AceFlags.NO_PROPAGATE else ace.flags & _INHERITANCE
        kept = ace.flags & ~(_INHERITANCE | AceFlags.INHERIT_ONLY) | AceFlags.INHERITED
        sid = creators.get(ace.sid, ace.sid)
        changes = sid != ace.sid or bool(ace.mask & _GENERIC)
        if changes and on:
            result.append(replace(ace, sid=sid, mask=map_generic(ace.mask), flags=kept))
            result.append(replace(ace, flags=kept | on | AceFlags.INHERIT_ONLY))
        else:
            result.append(replace(ace, sid=sid, mask=map_generic(ace.mask), flags=kept | on))
    return tuple(result)


def _mapped(aces: Acl | None) -> Acl | None:
    if aces is None:
        return None
    return tuple(
        ace if ace.flags & AceFlags.INHERIT_ONLY else replace(ace, mask=map_generic(ace.mask)) for ace in aces
    )


def assign_security(
    parent: SecurityDescriptor | None, explicit: SecurityDescriptor | None, token: Token
) -> SecurityDescriptor:
    """The descriptor of a new key; what is only inherited is worked out once for a parent's descriptor."""
    if parent is None or explicit is not None:
        return _assigned(parent, explicit, token)
    key = id(parent), id(token)
    known = _INHERITED.get(key)
    if known is None:
        if len(_INHERITED) >= _MOST_REMEMBERED:
            _INHERITED.clear()
        known = _INHERITED[key] = parent, token, _assigned(parent, None, token)
    return known[2]


def _assigned(
    parent: SecurityDescriptor | None, explicit: SecurityDescriptor | None, token: Token
) -> SecurityDescriptor:
    """The rules (SecAuthZ/dacl-for-a-new-object).

    A DACL given by the creator is taken alone; else the parent's inheritable entries; else full access for
    the owner and SYSTEM, which is the default DACL of the model's tokens.
    """
    owner = explicit.owner if explicit and explicit.owner else token.owner
    group = explicit.group if explicit and explicit.group else token.primary_group
    control = int(Control.DACL_PRESENT)
    dacl: Acl | None
    if explicit is not None and explicit.control & Control.DACL_PRESENT:
        dacl = _mapped(explicit.dacl)
        control |= explicit.control & (Control.DACL_PROTECTED | Control.DACL_AUTO_INHERITED)
    else:
        dacl = _inherited(parent.dacl or (), owner, group) if parent else ()
        control |= Control.DACL_AUTO_INHERITED if dacl else 0
        if not dacl:
            dacl = tuple(Ace(AceType.ALLOWED, 0, KEY_ALL_ACCESS, sid) for sid in (owner, LOCAL_SYSTEM))
    sacl = explicit.sacl if explicit is not None and explicit.control & Control.SACL_PRESENT else None
    if sacl is None and parent is not None and parent.sacl:
        sacl = _inherited(parent.sacl, owner, group) or None
    return SecurityDescriptor(owner, group, dacl, sacl, control | (Control.SACL_PRESENT if sacl else 0))
