"""Data laid out as public data sets and tools lay them out: read as they are meant, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from test_folders import lay

from stt_bench.benchmark.datasets.understand import Understood, understand
from stt_bench.benchmark.system.errors import BenchError


class Layout(NamedTuple):
    """Images (see `lay`), lists by name, what is read, and what of the columns is kept."""

    images: str
    lists: dict[str, str]
    expected: dict[str, str]  # path: [split/][role/]label[ metadata…]
    options: dict[str, object] = {}  # noqa: RUF012
    root: str = ""


def make(root: Path, images: str, lists: dict[str, str]) -> Path:
    lay(root, images)
    for name, text in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


def seen(root: Path, found: Understood) -> dict[str, str]:
    """Return what each image was read as: `[split/][role/]label`, then its metadata."""
    frame = found.frame
    further = [c for c in frame if c not in ("path", "label", "split", "role", "weight")]
    told = {}
    for row in frame.fillna("").to_dict("records"):
        words = [row[c] for c in ("split", "role", "label") if c in row and row[c] != "both"]
        told[str(Path(row["path"]).relative_to(root))] = " ".join(
            ["/".join(words), *(f"{column}={row[column]}" for column in further if row[column])]
        )
    return told


MARKET = (
    "bounding_box_train/{0002_c1s1_000451_03,0007_c3s2_000001_01}.jpg "
    "query/{0003_c1s1_000001_00,0005_c2s1_000001_00}.jpg "
    "bounding_box_test/{-1_c1s1_000401_03,0000_c1s1_000151_01,0003_c2s1_000002_01}.jpg "
    "gt_bbox/0003_c1s1_000001_00.jpg bounding_box_test/Thumbs.db readme.txt"
)
READ = {
    "csv of Kaggle: Image, Id, and a folder of images": Layout(
        "train/{a,b,d}.jpg test/c.jpg",
        {
            "train.csv": "Image,Id\na.jpg,w_1\nb.jpg,w_1\nd.jpg,w_2\n",
            "sample_submission.csv": "Image,Id\n",
        },
        {f"train/{name}.jpg": label for name, label in (("a", "w_1"), ("b", "w_1"), ("d", "w_2"))},
    ),
    "Kaggle: a test list without labels": Layout(
        "train_images/{a,b}.jpg test_images/c.jpg",
        {"train.csv": "image_id,breed\na,pug\nb,lab\n", "test.csv": "image_id\nc\n"},
        {"train_images/a.jpg": "pug", "train_images/b.jpg": "lab"},
    ),
    "Kaggle's happy whales": Layout(
        "train_images/{a,b}.jpg",
        {"train.csv": "image,species,individual_id\na.jpg,orca,i1\nb.jpg,orca,i2\n"},
        {"train_images/a.jpg": "i1 species=orca", "train_images/b.jpg": "i2 species=orca"},
        {"columns": {"label": "individual_id"}},
    ),
    "semicolons, a byte order mark, capitals, backslashes": Layout(
        "img/{1,2}.jpg",
        {
            "mine.csv": "\ufeffFile Name;CLASS;Taken\r\nimg\\1.jpg;cat;2020\r\n"
            ".\\img\\2.jpg;dog;\r\n"
        },
        {"img/1.jpg": "cat Taken=2020", "img/2.jpg": "dog"},
        root="mine.csv",
    ),
    "tabs": Layout(
        "1.jpg 2.jpg",
        {"mine.tsv": "filename\tidentity\tcamid\n1.jpg\tp, one\tc0\n2.jpg\tp2\tc1\n"},
        {"1.jpg": "p, one camid=c0", "2.jpg": "p2 camid=c1"},
        root="mine.tsv",
    ),
    "the number of a class beside its name": Layout(
        "1.jpg 2.jpg",
        {"mine.csv": "class_id,img_path,class_name\n0,1.jpg,cat\n1,2.jpg,dog\n"},
        {"1.jpg": "cat class_id=0", "2.jpg": "dog class_id=1"},
        root="mine.csv",
    ),
    "a path and the name in it": Layout(
        "cat/1.jpg dog/1.jpg",
        {"mine.csv": "filename,filepath,target\n1.jpg,cat/1.jpg,0\n1.jpg,dog/1.jpg,1\n"},
        {"cat/1.jpg": "0 filename=1.jpg", "dog/1.jpg": "1 filename=1.jpg"},
        root="mine.csv",
    ),
    "splits in any case, with query and gallery": Layout(
        "{1,2,3,4}.jpg",
        {
            "mine.csv": "path,label,subset\n1.jpg,a,TRAIN\n2.jpg,b,Valid\n3.jpg,c,Query\n"
            "4.jpg,c,GALLERY\n"
        },
        {"1.jpg": "train/a", "2.jpg": "validation/b", "3.jpg": "test/query/c",
         "4.jpg": "test/gallery/c"},
        root="mine.csv",
    ),
    "OML": Layout(
        "{1,2,3,4}.jpg",
        {
            "df.csv": "label,path,split,is_query,is_gallery,category,sequence\n"
            "3,1.jpg,train,,,shoes,\n1,2.jpg,validation,True,False,hats,s1\n"
            "1,3.jpg,validation,False,True,hats,s2\n2,4.jpg,validation,True,True,hats,s2\n"
        },
        {
            "1.jpg": "train/3 category=shoes",
            "2.jpg": "validation/query/1 category=hats sequence=s1",
            "3.jpg": "validation/gallery/1 category=hats sequence=s2",
            "4.jpg": "validation/2 category=hats sequence=s2",
        },
        root="df.csv",
    ),
    "OML with boxes, whole images asked for": Layout(
        "1.jpg 2.jpg",
        {"df.csv": "label,path,x_1,x_2,y_1,y_2\n3,1.jpg,0,9,0,9\n4,2.jpg,0,9,0,9\n"},
        {"1.jpg": "3 x_1=0 x_2=9 y_1=0 y_2=9", "2.jpg": "4 x_1=0 x_2=9 y_1=0 y_2=9"},
        {"boxes": "whole"},
        root="df.csv",
    ),
    "image folder of Hugging Face": Layout(
        "train/{1,2}.jpg test/3.jpg",
        {
            "train/metadata.csv": "file_name,label,caption\n1.jpg,a,one\n2.jpg,b,two\n",
            "test/metadata.csv": "file_name,label,caption\n3.jpg,c,three\n",
        },
        {"train/1.jpg": "train/a caption=one", "train/2.jpg": "train/b caption=two",
         "test/3.jpg": "test/c caption=three"},
    ),
    "Hugging Face, one list whose paths have the splits": Layout(
        "train/{1,2}.jpg test/3.jpg",
        {"metadata.csv": "file_name,label\ntrain/1.jpg,a\ntrain/2.jpg,b\ntest/3.jpg,c\n"},
        {"train/1.jpg": "train/a", "train/2.jpg": "train/b", "test/3.jpg": "test/c"},
    ),
    "FiftyOne: data and labels.csv": Layout(
        "data/{1,2}.jpg",
        {"labels.csv": "filepath,ground_truth\ndata/1.jpg,cat\ndata/2.jpg,dog\n"},
        {"data/1.jpg": "cat", "data/2.jpg": "dog"},
    ),
    "lists of the splits beside a folder of images": Layout(
        "images/{1,2,3,4}.jpg",
        {
            "train.csv": "filename,label\n1.jpg,a\n",
            "val.csv": "filename,label\n2.jpg,b\n",
            "test.csv": "filename,label\n3.jpg,c\n4.jpg,c\n",
        },
        {"images/1.jpg": "train/a", "images/2.jpg": "validation/b", "images/3.jpg": "test/c",
         "images/4.jpg": "test/c"},
    ),
    "query and gallery in lists of their own": Layout(
        "{1,2,3}.jpg",
        {
            "train.csv": "path,pid,camid\n1.jpg,7,0\n",
            "query.csv": "path,pid,camid\n2.jpg,8,0\n",
            "gallery.csv": "path,pid,camid\n3.jpg,8,1\n",
        },
        {"1.jpg": "train/7 camid=0", "2.jpg": "test/query/8 camid=0",
         "3.jpg": "test/gallery/8 camid=1"},
    ),
    "Market-1501": Layout(MARKET, {}, {
        "bounding_box_train/0002_c1s1_000451_03.jpg": "train/0002 camera=1 sequence=1",
        "bounding_box_train/0007_c3s2_000001_01.jpg": "train/0007 camera=3 sequence=2",
        "query/0003_c1s1_000001_00.jpg": "test/query/0003 camera=1 sequence=1",
        "query/0005_c2s1_000001_00.jpg": "test/query/0005 camera=2 sequence=1",
        "bounding_box_test/0000_c1s1_000151_01.jpg": "test/gallery/0000 camera=1 sequence=1",
        "bounding_box_test/0003_c2s1_000002_01.jpg": "test/gallery/0003 camera=2 sequence=1",
    }),
    "VeRi-776, wrapped in a folder": Layout(
        "VeRi/image_train/0001_c001_00016450_0.jpg VeRi/image_query/0002_c002_00030600_0.jpg "
        "VeRi/image_test/{0002_c002_00030600_0,0002_c003_00030700_0}.jpg",
        {"VeRi/train_label.xml": "<x/>"},
        {
            "VeRi/image_train/0001_c001_00016450_0.jpg": "train/0001 camera=001",
            "VeRi/image_query/0002_c002_00030600_0.jpg": "test/query/0002 camera=002",
            "VeRi/image_test/0002_c002_00030600_0.jpg": "test/gallery/0002 camera=002",
            "VeRi/image_test/0002_c003_00030700_0.jpg": "test/gallery/0002 camera=003",
        },
    ),
    "MSMT17": Layout(
        "train/0000/{0000_000_01_0303morning_0015_0,0000_001_02_0303noon_0016_1}.jpg "
        "test/0000/{0000_000_01_0113morning_0017_0,0000_002_14_0113afternoon_0018_2}.jpg",
        {
            "list_train.txt": "0000/0000_000_01_0303morning_0015_0.jpg 0\n",
            "list_val.txt": "0000/0000_001_02_0303noon_0016_1.jpg 0\n",
            "list_query.txt": "0000/0000_000_01_0113morning_0017_0.jpg 0\n",
            "list_gallery.txt": "0000/0000_002_14_0113afternoon_0018_2.jpg 0\n",
        },
        {
            "train/0000/0000_000_01_0303morning_0015_0.jpg": "train/train-0 camera=01",
            "train/0000/0000_001_02_0303noon_0016_1.jpg": "validation/train-0 camera=02",
            "test/0000/0000_000_01_0113morning_0017_0.jpg": "test/query/test-0 camera=01",
            "test/0000/0000_002_14_0113afternoon_0018_2.jpg": "test/gallery/test-0 camera=14",
        },
    ),
    "GroceryStore, its columns said": Layout(
        "{train,val,test}/Fruit/{Apple/Golden,Banana}/1.jpg iconic/x.jpg",
        {
            name: f"{part}/Fruit/Apple/Golden/1.jpg, 0, 0\n{part}/Fruit/Banana/1.jpg, 5, 2\n"
            for name, part in (("train.txt", "train"), ("val.txt", "val"), ("test.txt", "test"))
        },
        {
            f"{part}/Fruit/{path}/1.jpg": f"{split}/{label}"
            for part, split in (("train", "train"), ("val", "validation"), ("test", "test"))
            for path, label in (("Apple/Golden", "0"), ("Banana", "5"))
        },
        {"columns": {"path": 1, "label": 2}},
    ),
    "CIFAR-100 as folders": Layout(
        "{train,test}/{apple,bear}/0001.png",
        {"meta.txt": "x"},
        {f"{s}/{c}/0001.png": f"{s}/{c}" for s in ("train", "test") for c in ("apple", "bear")},
    ),
    "EuroSAT: lists that agree with the class folders": Layout(
        "AnnualCrop/{1,2}.jpg Forest/{1,2}.jpg",
        {
            "train.csv": ",Filename,Label,ClassName\n0,AnnualCrop/1.jpg,0,AnnualCrop\n"
            "1,Forest/1.jpg,1,Forest\n",
            "test.csv": ",Filename,Label,ClassName\n0,AnnualCrop/2.jpg,0,AnnualCrop\n"
            "1,Forest/2.jpg,1,Forest\n",
        },
        {
            "AnnualCrop/1.jpg": "train/0 ClassName=AnnualCrop",
            "Forest/1.jpg": "train/1 ClassName=Forest",
            "AnnualCrop/2.jpg": "test/0 ClassName=AnnualCrop",
            "Forest/2.jpg": "test/1 ClassName=Forest",
        },
    ),
    "a data set wrapped in folders": Layout(
        "CUB_200_2011/images/{001.A,002.B}/{1,2}.jpg CUB_200_2011/attributes/x.txt",
        {},
        {f"CUB_200_2011/images/{c}/{i}.jpg": c for c in ("001.A", "002.B") for i in (1, 2)},
    ),
    "a text list of the kind of Caffe": Layout(
        "a/{1 2,3}.jpg",
        {"train_list.txt": "a/1 2.jpg 7\na/3.jpg 8\n"},
        {"a/1 2.jpg": "7", "a/3.jpg": "8"},
        root="train_list.txt",
    ),
    "Excel's line that names the separator": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "\ufeffsep=;\r\nfilename;species\r\n1.jpg;cat\r\n2.jpg;dog\r\n"},
        {"1.jpg": "cat", "2.jpg": "dog"},
        root="x.csv",
    ),
    "absolute paths of another machine": Layout(
        "photos/{a,b}/1.jpg",
        {"x.csv": "path,label\n/home/me/sets/photos/a/1.jpg,a\n/home/me/sets/photos/b/1.jpg,b\n"},
        {f"photos/{c}/1.jpg": c for c in "ab"},
        root="x.csv",
    ),
    "absolute paths of another machine, under Windows": Layout(
        "photos/{a,b}/1.jpg",
        {"x.csv": "path,label\nC:\\my sets\\a\\1.jpg,a\nC:\\my sets\\b\\1.jpg,b\n"},
        {f"photos/{c}/1.jpg": c for c in "ab"},
        root="x.csv",
    ),
    "class names that are hostile": Layout(
        "1.jpg 2.jpg",
        {"mine.csv": 'path,label,note\n1.jpg,"=cmd|\' /C calc\'!A0","<script>\n|"\n2.jpg,$x$,\n'},
        {"1.jpg": "=cmd|' /C calc'!A0 note=<script> |", "2.jpg": "$x$"},
        root="mine.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_layouts_that_are_read(tmp_path: Path, name: str) -> None:
    one = READ[name]
    root = make(tmp_path / "data", one.images, one.lists)
    found = understand(root / one.root, **one.options)  # type: ignore[arg-type]
    assert seen(root, found) == one.expected


REFUSED = {
    "two columns that may be the class": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "image,species,individual_id\n1.jpg,orca,i1\n2.jpg,orca,i2\n"},
        {"": "the label may be any of the columns species, individual_id, .* name it by columns: "
             r"\{label: species\}"},
        root="x.csv",
    ),
    "no column that is the class": Layout(
        "1.jpg",
        {"x.csv": "path,kind\n1.jpg,cat\n"},
        {"": r"x.csv:1: no column is known as the label, the header has path, kind: name it by "
             r"columns: \{label: NAME\}"},
        root="x.csv",
    ),
    "no column that is the path": Layout(
        "1.jpg",
        {"x.csv": "label,shot\ncat,1.jpg\n"},
        {"": r"no column is known as the path, .* name it by columns: \{path: shot\}"},
        root="x.csv",
    ),
    "a header of which no column is known": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "kind,shot\ncat,1.jpg\ndog,2.jpg\n"},
        {"": r"x.csv:1: 'kind,shot' seems to name columns, of which none is known: name them by "
             r"columns: \{path: shot, label: kind\}"},
        root="x.csv",
    ),
    "a line of comment": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "# by a tool\npath,label\n1.jpg,cat\n2.jpg,dog\n"},
        {"": "x.csv:1: '# by a tool' is not the first line of such a list: a csv has a header"},
        root="x.csv",
    ),
    "an archive of arrays": Layout(
        "1.jpg", {"x.npz": "PK"}, {"": "several arrays .* numpy.save"}, root="x.npz"
    ),
    "an id of every item": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "id,path\n7,1.jpg\n8,2.jpg\n"},
        {"": r"no column is known as the label \(id is another for every item\)"},
        root="x.csv",
    ),
    "columns: a name that is not there": Layout(
        "1.jpg",
        {"x.csv": "path,kind\n1.jpg,cat\n"},
        {"": "columns: {label: kinds}: did you mean 'kind'"},
        {"columns": {"label": "kinds"}},
        root="x.csv",
    ),
    "GroceryStore": Layout(
        "train/Fruit/Apple/1.jpg test/Fruit/Apple/1.jpg",
        {f"{part}.txt": f"{part}/Fruit/Apple/1.jpg, 0, 0\n" for part in ("train", "test")},
        {"": r"train.txt:1: .* else say which columns these are: columns: \{path: 1, label: 2\}"},
    ),
    "OML with boxes": Layout(
        "1.jpg",
        {"x.csv": "label,path,x_1,x_2,y_1,y_2\n3,1.jpg,0,9,0,9\n"},
        {"": "has boxes .* crop them, or set the option boxes to whole"},
        root="x.csv",
    ),
    "a list and folders that disagree on classes": Layout(
        "cat/{1,2}.jpg dog/{1,2}.jpg",
        {"labels.csv": "path,label\ncat/1.jpg,cat\ncat/2.jpg,dog\ndog/1.jpg,dog\ndog/2.jpg,dog\n"},
        {"": "labels.csv and the folders in .* disagree: 2.jpg has the class 'dog' there, 'cat' by "
             "its folder; give .*labels.csv as data.root, or read the folders by"},
    ),
    "a list and folders that disagree on splits": Layout(
        "train/{a,b}/1.jpg test/{c,d}/1.jpg",
        {"labels.csv": "path,label,split\ntrain/a/1.jpg,a,train\ntest/c/1.jpg,c,train\n"},
        {"": "disagree: 1.jpg has the split 'train' there, 'test' by its folder"},
    ),
    "several lists": Layout(
        "1.jpg",
        {"labels.csv": "path,label\n1.jpg,a\n", "metadata.csv": "path,label\n1.jpg,b\n"},
        {"": "several lists, labels.csv, metadata.csv: give the one that is meant as data.root"},
    ),
    "a split with two lists": Layout(
        "1.jpg",
        {"train.csv": "path,label\n1.jpg,a\n", "train.txt": "1.jpg a\n", "test.csv": "x"},
        {"": "two lists of one split, train.csv and train.txt"},
    ),
    "images in several folders": Layout(
        "{a,b}/1.jpg",
        {"x.csv": "path,label\n1.jpg,cat\n"},
        {"": r"lie in several folders \(a, b\): name the one that is meant by the option images_r"},
        root="x.csv",
    ),
    "addresses": Layout(
        "1.jpg",
        {"x.csv": "path,label\nhttps://example.org/1.jpg,cat\n"},
        {"": "its paths are addresses .* download the images"},
        root="x.csv",
    ),
    "a name of another kind in Market-1501": Layout(
        MARKET + " query/{a,b}.jpg".replace("{a,b}", "extra"),
        {},
        {"": "query/extra.jpg is not named as the images beside it, IDENTITY_cCAMERA"},
    ),
    "COCO": Layout(
        "train2017/1.jpg val2017/1.jpg",
        {"annotations/instances.json": "{}"},
        {"": "train2017, val2017 with images but no class folders"},
    ),
    "COCO's own list": Layout(
        "1.jpg",
        {"instances.json": "{}"},
        {"": r"instances.json: lists of this kind \(COCO and the like\) are not read: write a csv"},
        root="instances.json",
    ),
    "an archive": Layout(
        "1.jpg",
        {"x.tar.gz": "x"},
        {"": "x.tar.gz is an archive, not a csv: unpack it"},
        root="x.tar.gz",
    ),
    "an image": Layout(
        "a/1.jpg",
        {},
        {"": "a/1.jpg is an image: name the folder that it lies in, or a csv that lists"},
        root="a/1.jpg",
    ),
    "roles twice": Layout(
        "1.jpg",
        {"x.csv": "path,label,split,role\n1.jpg,a,query,query\n"},
        {"": "its column split has query or gallery, and there is a column of roles"},
        root="x.csv",
    ),
    "test beside query": Layout(
        "1.jpg 2.jpg",
        {"x.csv": "path,label,split\n1.jpg,a,query\n2.jpg,a,test\n"},
        {"": "test items beside query or gallery: name each of them query or gallery"},
        root="x.csv",
    ),
    "folders in folders": Layout(
        "{a,b}/{c,d}/1.jpg", {}, {"": "holds no images but folders .* the option classes: leaf"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_layouts_that_are_refused(tmp_path: Path, name: str) -> None:
    one = REFUSED[name]
    root = make(tmp_path / "data", one.images, one.lists)
    with pytest.raises(BenchError, match=one.expected[""]) as told:
        understand(root / one.root, **one.options)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    root = make(tmp_path / "market", MARKET, {})
    assert understand(root).notes == [
        f"{root}: 1 image of identity -1 left out: junk counts in no list"
    ]
    lists = {"labels.csv": "path,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n"}
    root = make(tmp_path / "some", "{cat,dog}/{1,2}.jpg", lists)
    assert understand(root).notes == [f"{root}: 2 images are in no list and left out"]
    assert set(understand(root, classes="top").frame["label"]) == {"cat", "dog"}
    assert len(understand(root, classes="top").frame) == 4


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet")
    lay(tmp_path, "{1,2}.jpg")
    frame = pd.DataFrame({"Image": ["1.jpg", "2.jpg"], "label": [3, 4], "score": [0.5, None]})
    frame.to_parquet(tmp_path / "x.parquet", engine="fastparquet")
    found = understand(tmp_path / "x.parquet")
    assert seen(tmp_path, found) == {"1.jpg": "3 score=0.5", "2.jpg": "4"}
    assert found.columns == {"path": "Image", "label": "label"}
    assert found.layout == "Parquet list"
    frame.assign(image=[b"x", b"y"]).to_parquet(tmp_path / "y.parquet", engine="fastparquet")
    with pytest.raises(BenchError, match="the column image holds images themselves: save them as"):
        understand(tmp_path / "y.parquet")
