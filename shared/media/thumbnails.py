"""Thumbnails of images. They are stored beside the image, under a key that derives from its key."""

from __future__ import annotations

from shared.files.storage import THUMBNAIL_SUFFIX, Storage
from shared.models import MediaOutput

THUMBNAIL_TYPE = "image/webp"


def thumbnail_key(output_key: str) -> str:
    """Return the key of an output's thumbnail. Small images and other media have none."""
    return output_key + THUMBNAIL_SUFFIX


def delete_output_file(storage: Storage, output: MediaOutput) -> None:
    """Delete an output's thumbnail, and then its file. Raises `StorageUnavailable`; both can be deleted again then."""
    if output.media_type.startswith("image/"):
        storage.delete(thumbnail_key(output.storage_key))
    storage.delete(output.storage_key)
