import pandas as pd
import pytest

from stt_bench.benchmark.datasets.csv_lists import read_image_list
from stt_bench.benchmark.datasets.splits import train_and_test
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def read(tmp_path):
    def write(content: str | bytes) -> list[tuple[str, ...]]:
        file = tmp_path / "list.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        frame = read_image_list(file).frame
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
def test_formats(read, text):
    assert read(text) == EXPECTED


def test_split_and_role(read):
    text = "path,label,split,role\na,1,train,both\nb,2,test,query\nc,2,test,gallery\n"
    rows = [("1", "a", "both", "train"), ("2", "b", "query", "test"), ("2", "c", "gallery", "test")]
    assert read(text) == rows


def test_a_class_written_with_two_kinds_of_accents_is_one(read):
    assert read("caf\u00e9,e\u0301.jpg\ncafe\u0301,2.jpg\n") == [
        ("caf\u00e9", "e\u0301.jpg"),  # a path stays as the file system knows it
        ("caf\u00e9", "2.jpg"),
    ]


def test_quoted_commas(read):
    assert read('"Hat, red","a, b.jpg"\n') == [("Hat, red", "a, b.jpg")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv is empty"),
        ("\n \n", "list.csv is empty"),
        ("path,label\n", "has a header but no lines below it"),
        ("a,b,c\n", r"list.csv:1: 'a,b,c' is not the first line of such a list: a csv has"),
        ("001,a\n\n002,b,c\n", r"list.csv:3: expected 2 cells, found 3: put a value"),
        (",label,file_name\n0,1\n", r"list.csv:2: expected 3 cells, found 2"),
        ("001,a\n,b\n", r"list.csv:2: the label is empty"),
        ("001,a\n002, \n", r"list.csv:2: the path is empty"),
        ("path,label,split\na,1,trian\n", r"list.csv:2: split 'trian' .* did you mean 'train'\?"),
        ("path,label,role\na,1,x\n", r"list.csv:2: role 'x' is not valid: valid: both, gallery"),
        ("path,label,rol\na,1,both\n", r"list.csv:1: column 'rol': did you mean 'role'\?"),
        (
            "path,Path,label\na,a,1\n",
            r"list.csv:1: column 'path' is there twice \(path, Path\): remove one",
        ),
        ('1,a\n1,"b\n', r"list.csv:\d: not a csv line"),
        (
            "label,path\na/1.jpg,cat\na/2.jpg,dog\n",
            r"list.csv:3: the path is 'dog' and the class 'a/2.jpg', an image: name the columns",
        ),
        (b"1,a\n2,\xff\n", r"list.csv:2: byte 0xff is not UTF-8"),
    ],
)
def test_errors_name_file_and_line(read, text, message):
    with pytest.raises(BenchError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("path,label,split\na,1,Train\nb,2,VAL\nc,3,testing\n", ["train", "validation", "test"]),
        ("class,filename,role\n1,a,Query\n2,b,gallery\n", ["query", "gallery"]),
    ],
)
def test_the_usual_words(tmp_path, text, rows):
    (tmp_path / "x.csv").write_text(text)
    frame, notes, _ = read_image_list(tmp_path / "x.csv")
    assert frame["split" if "split" in frame else "role"].tolist() == rows
    assert notes == []


OML = """label,path,split,is_query,is_gallery,x_1,x_2
3,a.jpg,train,,,1,2
3,b.jpg,train,,,1,2
1,c.jpg,validation,True,False,1,2
1,d.jpg,validation,False,True,1,2
2,e.jpg,validation,1,1,1,2
2,f.jpg,validation,0,0,1,2
"""


def test_the_flags_of_oml_are_roles(tmp_path):
    (tmp_path / "x.csv").write_text(OML)
    frame, notes, _ = read_image_list(tmp_path / "x.csv")
    assert frame["role"].tolist() == ["both", "both", "query", "gallery", "both", "neither"]
    assert notes == [f"{tmp_path / 'x.csv'}: further columns are kept as metadata: x_1, x_2"]
    assert frame[["x_1", "x_2"]].to_numpy().tolist() == [["1", "2"]] * 6
    kept, told = train_and_test(frame)
    assert kept["split"].tolist() == ["train", "train", "test", "test", "test"]
    assert told == [
        "1 item left out: neither query nor gallery",
        "3 validation items taken as the test split: there are no test items",
    ]


def test_validation_items_beside_test_items_are_left_out():
    frame = pd.DataFrame({"split": ["train", "validation", "test"], "path": list("abc")})
    kept, told = train_and_test(frame)
    assert kept["path"].tolist() == ["a", "c"]
    assert told == ["1 validation item left out: there are test items beside them"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,is_query\na,1,1\n", "needs the columns is_query and is_gallery together"),
        ("path,label,role,is_query,is_gallery\na,1,both,1,1\n", "without a role"),
        ("path,label,is_query,is_gallery\na,1,1,1\nb,1,,1\n", r":3: is_query '' is not valid"),
        ("path,label,is_query,is_gallery\na,1,1,maybe\n", r":2: is_gallery 'maybe' is not valid"),
    ],
)
def test_flags_that_are_wrong(read, text, message):
    with pytest.raises(BenchError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("header", "cells", "splits"),
    [
        ("is_train", "True False 1 0 YES no", "train test train test train test"),
        ("Is Training", "1.0 0.0", "train test"),
        ("Is_Training_Image", "1 0", "train test"),
        ("is_test", "1 0", "test train"),
        ("is_val", "1 0", "validation train"),
        ("is_train,is_val", "1,0 0,1 0,0", "train validation test"),
        ("is_val,is_test", "0,0 1,0 0,1", "train validation test"),
        ("is_train,is_val,is_test", "1,0,0 0,1,0 0,0,1", "train validation test"),
        ("split,is_train", "train,1 val,1 val,0 test,0", "train validation validation test"),
        ("fold", "train dev TEST", "train validation test"),
    ],
)
def test_flags_of_a_split(tmp_path, header, cells, splits):
    lines = [f"{n},{n}.jpg,{cell}" for n, cell in enumerate(cells.split())]
    (tmp_path / "x.csv").write_text("\n".join([f"label,path,{header}", *lines]))
    frame, notes, _ = read_image_list(tmp_path / "x.csv")
    assert frame["split"].tolist() == splits.split()
    assert sorted(frame) == ["label", "path", "split"]
    assert notes == []


def test_flags_of_a_parquet_file_and_one_that_the_user_names(tmp_path):
    frame = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": [1, 2], "is_train": [True, False]})
    frame.assign(used=[1, 0]).to_parquet(tmp_path / "x.parquet")
    assert read_image_list(tmp_path / "x.parquet").frame["split"].tolist() == ["train", "test"]
    (tmp_path / "x.csv").write_text("path,label,used\na,1,1\nb,2,0\n")
    found = read_image_list(tmp_path / "x.csv", {"is_train": "used"})
    assert found.frame["split"].tolist() == ["train", "test"]
    assert found.columns["is_train"] == "used"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("is_train\na,1,True\nb,2,maybe\n", r"list.csv:3: is_train 'maybe' is not valid: write tr"),
        ("is_train\na,1,True\nb,2,\n", r"list.csv:3: is_train '' is not valid: write true or fal"),
        ("is_train,is_test\na,1,1,1\n", r"list.csv:2: is_train and is_test are true of one item"),
        ("is_train,is_test\na,1,1,0\nb,1,0,0\n", r"list.csv:3: none of is_train, is_test is true"),
        ("split,is_train\na,1,train,1\nb,1,test,1\n", r":3: the split is 'test', and is_train is"),
        ("split,is_test\na,1,train,0\nb,1,query,0\n", r":3: the split is 'test', and is_test is f"),
        ("usage\na,1,Training\nb,1,PublicTest\n", r":3: usage 'PublicTest' names no split, as 'Tr"),
        ("subset\na,1,\nb,1,test\n", r"list.csv:2: subset '' names no split, as 'test' does: wr"),
    ],
)
def test_splits_that_are_not_clear(read, text, message):
    with pytest.raises(BenchError, match=message):
        read(f"path,label,{text}")


@pytest.mark.parametrize(
    ("column", "hint"),
    [("fold", "write train, validation, test"), ("is_valid", "name it is_validation if")],
)
def test_a_column_that_may_be_a_split_and_is_none_is_told(tmp_path, column, hint):
    (tmp_path / "x.csv").write_text(f"path,label,{column}\na,1,0\nb,2,1\n")
    frame, notes, _ = read_image_list(tmp_path / "x.csv")
    assert frame[column].tolist() == ["0", "1"]
    assert len(notes) == 2
    assert f"no split is read from the column '{column}' ('0', …): {hint}" in notes[1]
    (tmp_path / "x.csv").write_text(f"path,label,{column},split\na,1,0,train\nb,2,1,test\n")
    assert len(read_image_list(tmp_path / "x.csv").notes) == 1


def test_a_flag_of_another_kind_is_no_slip(tmp_path):
    (tmp_path / "x.csv").write_text("path,label,is_text\na,1,0\nb,2,1\n")
    assert read_image_list(tmp_path / "x.csv").frame["is_text"].tolist() == ["0", "1"]
