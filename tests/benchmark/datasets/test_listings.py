import pytest

from stt_bench.benchmark.datasets.csv_lists import read_listing
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def listing(tmp_path):
    def write(content: str | bytes) -> list[tuple[str, ...]]:
        file = tmp_path / "list.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        frame = read_listing(file)
        assert frame.columns[:2].tolist() in (["path", "label"], ["label", "path"])
        return [tuple(row) for row in frame[sorted(frame.columns)].to_numpy().tolist()]

    return write


EXPECTED = [("001", "a/1.jpg"), ("002", "a/2.jpg")]


@pytest.mark.parametrize(
    "text",
    [
        "001,a/1.jpg\n002,a/2.jpg\n",
        ",label,file_name\n0,001,a/1.jpg\n1,002,a/2.jpg\n",
        "path,label\na/1.jpg,001\na/2.jpg,002",
        "label, path\r\n001, a/1.jpg\r\n\r\n002 , a/2.jpg\r\n",
        "\ufeff001,a/1.jpg\n  \n\n002,a/2.jpg\n",
        '\ufeff,label,file_name\r\n0,001,"a/1.jpg"\r\n1,"002",a/2.jpg\r\n',
    ],
)
def test_formats(listing, text):
    assert listing(text) == EXPECTED


def test_split_and_role(listing):
    text = "path,label,split,role\na,1,train,both\nb,2,test,query\nc,2,test,gallery\n"
    rows = [("1", "a", "both", "train"), ("2", "b", "query", "test"), ("2", "c", "gallery", "test")]
    assert listing(text) == rows


def test_quoted_commas(listing):
    assert listing('"Hat, red","a, b.jpg"\n') == [("Hat, red", "a, b.jpg")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv is empty"),
        ("\n \n", "list.csv is empty"),
        ("path,label\n", "has a header but no items"),
        ("a,b,c\n", r"list.csv:1: neither a header nor class,path: a csv has"),
        ("001,a\n\n002,b,c\n", r"list.csv:3: expected 2 cells, found 3: put a value"),
        (",label,file_name\n0,1\n", r"list.csv:2: expected 3 cells, found 2"),
        ("001,a\n,b\n", r"list.csv:2: the label is empty"),
        ("001,a\n002, \n", r"list.csv:2: the path is empty"),
        ("path,label,split\na,1,trian\n", r"list.csv:2: split 'trian' .* did you mean 'train'\?"),
        ("path,label,role\na,1,x\n", r"list.csv:2: role 'x' is not valid: valid: both, gallery"),
        ("path,label,rol\na,1,both\n", r"list.csv:1: column 'rol' .* did you mean 'role'\?"),
        ("path,file_name,label\na,a,1\n", r"list.csv:1: column 'path' .* it is there twice"),
        ('1,a\n1,"b\n', r"list.csv:\d: not a csv line"),
        (b"1,a\n2,\xff\n", "list.csv cannot be read as UTF-8 text"),
    ],
)
def test_errors_name_file_and_line(listing, text, message):
    with pytest.raises(BenchError, match=message):
        listing(text)


def test_folder(tmp_path, save):
    names = [
        "b/2.PNG",
        "b/1.jpg",
        "a/x.jpeg",
        "a/deep/y.bmp",
        "a/.hidden.png",
        "a/z.webp",
        "a/u.gif",
        "a/v.TIF",
        "a/w.tiff",
        ".git/x.png",
    ]
    for name in names:
        save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").touch()
    frame = read_listing(tmp_path)
    a = ["u.gif", "v.TIF", "w.tiff", "x.jpeg", "z.webp", "deep/y.bmp"]
    assert frame["path"].tolist() == [*(f"a/{name}" for name in a), "b/1.jpg", "b/2.PNG"]
    assert frame["label"].tolist() == ["a"] * 6 + ["b"] * 2


def test_folder_errors(tmp_path, save):
    with pytest.raises(BenchError, match="holds no class folders"):
        read_listing(tmp_path)
    save(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").touch()
    with pytest.raises(BenchError, match="has 1 class folders without images, the first is b:"):
        read_listing(tmp_path)
    save(tmp_path / "1.png")
    with pytest.raises(BenchError, match=r"images outside of a class folder \(1, the first is 1"):
        read_listing(tmp_path)
    with pytest.raises(BenchError, match="nothere does not exist: give a csv file or a folder"):
        read_listing(tmp_path / "nothere")
