"""A reader of FAT16 file systems, after Microsoft's "FAT: General Overview of On-Disk Format", 1.03."""

from __future__ import annotations

import struct


def read_fat16(volume: bytes) -> dict[str, bytes]:
    """Every file of a volume by its long name, folders as in ``rt/start.cmd``."""
    (bytes_per_sector, sectors_per_cluster, reserved, fats, root_entries) = struct.unpack_from(
        "<HBHBH", volume, 11
    )
    (fat_sectors,) = struct.unpack_from("<H", volume, 22)
    fat_start = reserved * bytes_per_sector
    root_start = fat_start + fats * fat_sectors * bytes_per_sector
    data_start = root_start + root_entries * 32
    cluster_size = sectors_per_cluster * bytes_per_sector

    def chain(cluster: int) -> bytes:
        parts = []
        while 2 <= cluster < 0xFFF8:
            start = data_start + (cluster - 2) * cluster_size
            parts.append(volume[start : start + cluster_size])
            (cluster,) = struct.unpack_from("<H", volume, fat_start + 2 * cluster)
        return b"".join(parts)

    def folder(entries: bytes, prefix: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        long = ""
        for at in range(0, len(entries), 32):
            entry = entries[at : at + 32]
            if entry[0] == 0:
                break
            if entry[0] == 0xE5:
                continue
            if entry[11] == 0x0F:  # a part of a long name, the last part first
                units = entry[1:11] + entry[14:26] + entry[28:32]
                long = units.decode("utf-16-le").split("\0")[0].rstrip("\uffff") + long
                continue
            stem, suffix = entry[:8].decode("ascii").rstrip(), entry[8:11].decode("ascii").rstrip()
            # Windows NT keeps the case of a short name in two bits of byte 12.
            stem = stem.lower() if entry[12] & 0x08 else stem
            suffix = suffix.lower() if entry[12] & 0x10 else suffix
            name = long or (f"{stem}.{suffix}" if suffix else stem)
            long = ""
            first, size = struct.unpack_from("<HI", entry, 26)
            if entry[11] & 0x08 or stem in {".", ".."}:
                continue
            if entry[11] & 0x10:
                found |= folder(chain(first), f"{prefix}{name}/")
            else:
                found[prefix + name] = chain(first)[:size]
        return found

    return folder(volume[root_start:data_start], "")
