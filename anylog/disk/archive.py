from __future__ import annotations

import gzip


def folder_of(root, date):
    return root / date[:2] / date[2:4] / date[4:6]


def find(disk, root, date, member, id):
    folder = folder_of(root, date)
    part = f".{member}.{id}.{date}."
    return next((folder / name for name in disk.names(folder) if part in name), None)


def read_archived(disk, path):
    data = disk.read(path)
    return gzip.decompress(data) if path.name.endswith(".gz") else data
