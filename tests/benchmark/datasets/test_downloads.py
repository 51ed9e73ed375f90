"""Downloads: what is asked for, and that it is found; the network itself is replaced."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import io
import tarfile
import zipfile
from dataclasses import replace
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from dataset_miniatures import lift_counts, miniature

from stt_bench.benchmark.datasets import archives, catalog, dataset_names
from stt_bench.benchmark.datasets.archives import Archive, ArchiveError, Download
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.system.errors import BenchError

NAMES = [name for name in dataset_names() if find_dataset(name).download is not None]


def archives_of(name: str) -> tuple[Archive, ...]:
    return find_dataset(name).download.archives


@pytest.mark.parametrize("name", NAMES)
def test_every_download_is_https_and_has_a_checksum(name):
    for archive in archives_of(name):
        assert archive.url.startswith("https://")
        kind, _, digits = archive.checksum.partition(":")
        assert len(digits) == 2 * hashlib.new(kind).digest_size
        assert set(digits) <= set("0123456789abcdef")


def test_the_checksums_are_torchvisions():
    from torchvision import datasets as theirs

    named = {name: archives_of(name) for name in ("fashion_mnist", "flowers102", "omniglot")}
    own = {archive.name: archive.checksum for part in named.values() for archive in part}
    official = dict(theirs.FashionMNIST.resources) | dict(theirs.Flowers102._file_dict.values())
    official |= {f"{part}.zip": md5 for part, md5 in theirs.Omniglot.zips_md5.items()}
    assert own == {file: f"md5:{md5}" for file, md5 in official.items()}
    assert archives_of("aircraft")[0].url == theirs.FGVCAircraft._URL


def packed(archive: Archive, root: Path, alone: set[str], *, whole: bool) -> bytes:
    """Return an archive of its kind with all below `root` but what comes alone, or with nothing."""
    name, folder, stream = archive.name, root / archive.into, io.BytesIO()
    files = [one for one in sorted(folder.rglob("*")) if whole and one.name not in alone]
    if name.endswith(".zip"):
        with zipfile.ZipFile(stream, "w") as zipped:
            for file in files:
                zipped.write(file, file.relative_to(folder))
    elif ".t" in name:
        with tarfile.open(fileobj=stream, mode="w:" if name.endswith(".tar") else "w:gz") as tar:
            for file in files:
                tar.add(file, str(file.relative_to(folder)), recursive=False)
    elif name.endswith(".gz"):
        return gzip.compress((folder / Path(name).stem).read_bytes())
    else:
        return (folder / name).read_bytes()
    return stream.getvalue()


class Answer(io.BytesIO):
    """What an address answers."""

    headers = Message()


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Let a dataset's addresses answer with its miniature; return the list of what was asked."""

    def start(name: str) -> list[str]:
        lift_counts(monkeypatch, name)
        root, dataset, answers = miniature(name, tmp_path / "official"), find_dataset(name), {}
        if name == "omniglot":
            (root / "omniglot-py").mkdir()
            for part in ("images_background", "images_evaluation"):
                (root / part).rename(root / "omniglot-py" / part)
        right, alone = [], {archive.name for archive in archives_of(name)}
        for place, archive in enumerate(archives_of(name)):
            content = packed(archive, root, alone, whole=place == 0)
            answers[archive.url] = content
            checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
            right.append(archive._replace(checksum=checksum))
        monkeypatch.setitem(catalog._DATASETS, name, replace(dataset, download=Download(*right)))
        asked: list[str] = []

        def answer(url: str) -> Answer:
            asked.append(url)
            return Answer(answers[url])

        monkeypatch.setattr(archives, "open_url", answer)
        return asked

    return start


@pytest.mark.parametrize("name", NAMES)
def test_archives_are_fetched_once(load, nowhere, serve, tmp_path, name):
    asked, dataset = serve(name), find_dataset(name)
    task = dataset.tasks[0]
    first = load(name, task=task)
    assert asked == [archive.url for archive in archives_of(name)]
    assert [path.name for path in (nowhere / "data").iterdir()] == [dataset.folder]
    assert load(name, task=task).data_hash == first.data_hash
    assert len(asked) == len(archives_of(name))
    left = {path.name for path in (nowhere / "data").rglob("*")}
    assert not left & {one.name for one in archives_of(name) if not one.name.endswith(".mat")}
    assert first.frame.equals(load(name, tmp_path / "official", task).frame)


ERRORS = [
    URLError("Name or service\nnot known"),
    HTTPError("https://x", 503, "Service Unavailable", Message(), None),
    TimeoutError("timed out"),
    ConnectionResetError("reset"),
]


@pytest.mark.parametrize(
    ("name", "error"), [*((name, ERRORS[0]) for name in NAMES), *(("sop", one) for one in ERRORS)]
)
def test_no_network(load, nowhere, monkeypatch, name, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    dataset = find_dataset(name)
    with pytest.raises(BenchError) as told:
        load(name, task=dataset.tasks[0])
    text = str(told.value)
    assert text.startswith(f"dataset '{name}' was not found and could not be downloaded (")
    for part in ("http", f"data/{dataset.folder}", "data.root"):
        assert part in text
    assert "\n" not in text
    assert list((nowhere / "data").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"", b"PK\x03\x04 half of a zip"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("checked", [True, False])
def test_a_wrong_archive_leaves_nothing(load, nowhere, monkeypatch, name, content, checked):
    monkeypatch.setattr(archives, "open_url", lambda url: Answer(content))
    if not checked:  # as if the publisher's own file were damaged
        right = f"md5:{hashlib.md5(content).hexdigest()}"
        wrong = [archive._replace(checksum=right) for archive in archives_of(name)]
        dataset = replace(find_dataset(name), download=Download(*wrong))
        monkeypatch.setitem(catalog._DATASETS, name, dataset)
    message = "is not the file that it was: its" if checked else r"could not be downloaded \(.+\): "
    with pytest.raises(BenchError, match=message):
        load(name, task=find_dataset(name).tasks[0])
    assert list((nowhere / "data").iterdir()) == []


def tar_of(*members: tuple[str, dict[str, object]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, fields in members:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            info.size = 4 if info.isfile() else 0
            tar.addfile(info, io.BytesIO(b"evil") if info.isfile() else None)
    return stream.getvalue()


def zip_of(*members: tuple[str, int]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "/etc" if mode else "evil")
    return stream.getvalue()


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc"}
HOSTILE = {
    "up.tar": tar_of(("../evil", {})),
    "deep.tar": tar_of(("a/../../evil", {})),
    "absolute.tar": tar_of(("/tmp/evil", {})),
    "link.tar": tar_of(("a", LINK), ("a/evil", {})),
    "inside.tar": tar_of(("a", {"type": tarfile.SYMTYPE, "linkname": "."})),
    "hard.tar": tar_of(("a", {"type": tarfile.LNKTYPE, "linkname": "../../evil"})),
    "device.tar": tar_of(("a", {"type": tarfile.CHRTYPE})),
    "pipe.tar": tar_of(("a", {"type": tarfile.FIFOTYPE})),
    "up.zip": zip_of(("../evil", 0)),
    "windows.zip": zip_of(("..\\evil", 0)),
    "drive.zip": zip_of(("C:/evil", 0)),
    "absolute.zip": zip_of(("/tmp/evil", 0)),
    "link.zip": zip_of(("a", 0o120777)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_member_leaves_the_folder(tmp_path, name):
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(HOSTILE[name])
    with pytest.raises(ArchiveError, match=r"its member .* (would lie outside|is neither a file)"):
        archives.unpack(folder / name, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "folder", name]


def test_a_member_becomes_no_program_and_stays_the_users(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_of(("a", {"mode": 0o6777})))
    archives.unpack(tmp_path / "x.tar", tmp_path)
    assert (tmp_path / "a").read_bytes() == b"evil"
    assert (tmp_path / "a").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("url", ["http://x.org/a", "ftp://x.org/a", "file:///etc/passwd"])
def test_only_https_is_asked_and_followed(url):
    with pytest.raises(URLError, match="is not https"):
        archives.open_url(url)
    handler = archives._HttpsOnly()
    request = archives.urllib.request.Request("https://x.org")
    with pytest.raises(URLError, match="is not https"):
        handler.redirect_request(request, io.BytesIO(), 302, "", Message(), url)
    assert handler.redirect_request(request, io.BytesIO(), 302, "", Message(), "https://y.org")


def test_no_source_has_another_way_to_fetch():
    for name in dataset_names():
        source = inspect.getsource(inspect.getmodule(find_dataset(name).function))
        assert "download=True" not in source
        assert "urllib" not in source
