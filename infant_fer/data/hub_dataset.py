"""How is a data set of the Hugging Face Hub read? It is downloaded once, into one archive of encoded pictures."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from infant_fer.errors import DatasetError
from infant_fer.files import open_atomically


def fetched_archive(repo_id: str, cache: Path) -> Path:
    """Return the archive `cache`/hub-OWNER-NAME.zip of SPLIT/LABEL/NUMBER.jpg, written at the first call. Raises DatasetError.

    The data set needs an image and a class-label column, as those of the Hub's image-classification task have.
    """
    archive = cache / f"hub-{repo_id.replace('/', '-')}.zip"
    if archive.is_file():
        return archive
    try:
        import datasets
    except ImportError:
        raise DatasetError("Data sets of the Hub need one more package: pip install datasets.") from None
    try:
        loaded = datasets.load_dataset(repo_id)
    except Exception as error:  # datasets raises a dozen kinds of exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"The Hub's data set {repo_id} could not be loaded: {reason}") from error
    cache.mkdir(parents=True, exist_ok=True)
    return into_archive(loaded, repo_id, archive)


def into_archive(loaded, repo_id: str, archive: Path) -> Path:
    """Write a `datasets.DatasetDict` as an archive, atomically; rows without a label (None or -1) are left out.

    Raises DatasetError for missing columns.
    """
    import datasets

    with open_atomically(archive, "wb") as stream, ZipFile(stream, "w", ZIP_STORED) as opened:
        for split, rows in loaded.items():
            columns = {type(feature): name for name, feature in rows.features.items()}
            image, label = columns.get(datasets.Image), columns.get(datasets.ClassLabel)
            if image is None or label is None:
                raise DatasetError(
                    f"{repo_id} has no image column or no class-label column; it has {rows.column_names}."
                )
            names = rows.features[label].names
            encoded = rows.cast_column(image, datasets.Image(decode=False))
            for number, row in enumerate(encoded):
                if row[label] is None or row[label] < 0:
                    continue
                data = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
                opened.writestr(f"{split}/{names[row[label]]}/{number:06}.jpg", data)
    return archive
