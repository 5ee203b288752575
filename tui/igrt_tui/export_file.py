"""Writing a file that nobody else may read and that replaces nothing."""

import os
from pathlib import Path

TRIES = 100


def write_new(folder: Path, name: str, text: str) -> Path:
    """Write text to a new file of mode 0600; a name that is taken gets a number.

    Raises:
        OSError: it cannot be written; what was begun is removed.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    for number in range(1, TRIES):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    else:
        raise OSError(f"{TRIES} files of the name {name} are in {folder} already")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path
