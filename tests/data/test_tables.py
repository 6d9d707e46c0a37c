"""Tables of pictures: votes, subgroups, subjects, and what is wrong with them."""

import numpy as np
import pytest

from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.tables import read_rows
from infant_fer.errors import DatasetError
from tests.data.test_datasets import picture, put
from tests.drawn_data import infant_row, named_pictures, write_table, write_zip


def test_votes_groups_and_subgroups_of_a_table(tmp_path):
    rows = [
        infant_row("a.png", votes=(3, 1, 0, 0), group="g1", age="newborn"),
        infant_row("sub/b.png", affect="negative", votes=(0, 0, 2, 0), group="g2", split="test"),
        infant_row("c.png", affect="mixed", group="g3"),
        infant_row("d.png", affect="neutral", votes=(0, 0, 0, 0), group="g1", split="dev"),
        infant_row("e.png", affect="neutral", votes=(0, 1, 0, 0), group="g4", age="newborn"),
    ]
    write_table(tmp_path, rows, [*rows[0]])
    put(tmp_path, "a.png", "c.png", "e.png")
    write_zip(tmp_path / "more.zip", {"sub/b.png": picture(5)})
    put(tmp_path / "elsewhere", "d.png")
    with pytest.raises(DatasetError, match=r"d\.png .*--pictures"):
        read_labeled_images(tmp_path)
    found = read_labeled_images(tmp_path, pictures=[tmp_path / "elsewhere"])
    np.testing.assert_allclose(found.target, [[0.75, 0.25, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]])
    assert found.truth.tolist() == [0, 2, 1, 1]
    assert found.subject.tolist() == ["g1", "g2", "g1", "g4"]
    assert found.subgroups["age"].tolist() == ["newborn", "baby", "baby", "newborn"]
    assert found.left_out == ("1 rows labelled mixed",)
    assert found.read(1) == picture(5)
    assert read_labeled_images(tmp_path, ["positive", "negative"]).labels == ("positive", "negative")


def test_votes_are_read_in_every_spelling_of_a_class(tmp_path):
    put(tmp_path, "a.png", "b.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,p_happiness,p_Sadness\na.png,happy,3,1\nb.png,sad,0,2\n")
    np.testing.assert_allclose(read_labeled_images(table).target, [[0.75, 0.25], [0, 1]])
    table.write_text("file,p_happiness,p_sad\na.png,3,1\nb.png,0,2\n")
    np.testing.assert_allclose(read_labeled_images(table).target, [[0.75, 0.25], [0, 1]])
    table.write_text("file,label,p_happiness,p_happy\na.png,happy,3,1\nb.png,sad,0,2\n")
    with pytest.raises(DatasetError, match="two columns of votes for one class"):
        read_labeled_images(table)


def test_votes_that_do_not_count_are_said(tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    table = tmp_path / "labels.csv"
    rows = [f"{number}.png,{label},1,0,2\n" for number, label in enumerate(("happy", "sad", "happy", "sad"))]
    table.write_text("file,label,votes_happiness,sadVotes,p_fear\n" + "".join(rows))
    found = read_labeled_images(table)
    assert found.subgroups == {}
    np.testing.assert_array_equal(found.target, np.eye(2)[[0, 1, 0, 1]])
    assert found.notes == (
        "not read as votes, which are called p_<label>: the columns votes_happiness, sadVotes",
        "the votes in p_fear are not used: there are none for happy, sad",
    )


def test_a_subgroup_names_nobody(tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    (tmp_path / "labels.csv").write_text(
        "file,label,subject,group,name,infantName,child_id,call,sex\n"
        "0.png,happy,1,x,Ann,Ann,a,Annie,f\n"
        "1.png,sad,2,x,Bob,Bob,a,Bobby,m\n"
        "2.png,happy,3,y,Bob,Bob,b,,m\n"
        "3.png,sad,4,y,Ann,Ann,b,,f\n"
    )
    found = read_labeled_images(tmp_path / "labels.csv")
    assert list(found.subgroups) == ["group", "sex"]
    (note,) = found.notes
    assert note.endswith("the columns name, infantName, child_id, call")


@pytest.mark.parametrize(
    "column", ["Kind", "bambino", "kid", "nome", "participantNr", "child_no", "Säugling", "spædbarn", "who"]
)
def test_where_infants_are_not_known_only_columns_that_describe_are_subgroups(column, tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    rows = "0.png,happy,Ann,f,1\n1.png,sad,Ann,f,2\n2.png,happy,Bob,m,2\n3.png,sad,Bob,m,1\n"
    (tmp_path / "labels.csv").write_text(f"file,label,{column},Sex,età\n{rows}", encoding="utf-8")
    found = read_labeled_images(tmp_path / "labels.csv")
    assert list(found.subgroups) == ["Sex", "età"]
    assert found.notes[-1] == f"no subgroups, as they may name an infant, a rater or a file: the columns {column}"


def test_names_of_columns_may_have_capitals(tmp_path):
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text("File,Label, Subject,SPLIT\na.png,happy,ann,Train\nb.png,sad,ann,test\n")
    found = read_labeled_images(tmp_path / "labels.csv")
    assert found.subjects_known
    assert found.subject.tolist() == ["ann", "ann"]
    assert found.split.tolist() == ["train", "test"]


@pytest.mark.parametrize("column", ["infant_id", "participant", "childName", "Baby"])
def test_a_column_that_may_hold_the_infants_is_named(column, tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    table = tmp_path / "labels.csv"
    rows = "0.png,happy,{},k\n1.png,sad,{},k\n2.png,happy,{},l\n3.png,sad,{},l\n"
    table.write_text(f"file,label,{column},coder\n" + rows.format("ann", "ann", "bob", "bob"))
    found = read_labeled_images(table)
    assert not found.subjects_known
    assert found.notes[0] == f"infants are not known, but may be in {column}: call the column of infants subject"
    for names in ("abcd", "aaaa"):  # numbers of pictures, or of the study
        table.write_text(f"file,label,{column},coder\n" + rows.format(*names))
        assert not any("infants are not known" in note for note in read_labeled_images(table).notes)
    table.write_text(f"file,label,{column},subject\n" + rows.format("ann", "ann", "bob", "bob"))
    assert not any("infants are not known" in note for note in read_labeled_images(table).notes)


@pytest.mark.parametrize("columns", ["infant,group", "subject,group", "subject,infant"])
def test_of_two_columns_the_first_in_order_names_the_infants(columns, tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    table = tmp_path / "labels.csv"
    rows = "0.png,happy,ann,term\n1.png,sad,bob,preterm\n2.png,happy,cid,term\n3.png,sad,ann,preterm\n"
    table.write_text(f"file,label,{columns}\n{rows}")
    found = read_labeled_images(table)
    assert found.subjects_known
    assert found.subject.tolist() == ["ann", "bob", "cid", "ann"]


def test_a_group_beside_the_infants_is_a_subgroup(tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(4)))
    rows = "0.png,happy,ann,term\n1.png,sad,bob,preterm\n2.png,happy,cid,term\n3.png,sad,dan,preterm\n"
    (tmp_path / "labels.csv").write_text(f"file,label,infant,group\n{rows}")
    found = read_labeled_images(tmp_path / "labels.csv")
    assert found.subgroups["group"].tolist() == ["term", "preterm", "term", "preterm"]


def test_a_table_of_votes_alone(tmp_path):
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "manifest.csv").write_text("path,p_happy,p_sad\na.png,0.4,0.6\nb.png,1,0\n")
    found = read_labeled_images(tmp_path / "manifest.csv")
    assert found.labels == ("happy", "sad")
    assert found.truth.tolist() == [1, 0]
    np.testing.assert_allclose(found.target, [[0.4, 0.6], [1, 0]])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,mood\na.png,x\n", "file and label"),
        ("file,label\na.png,sleepy\nb.png,happy\n", r"Line 2 .*a\.png.*sleepy"),
        ("file,label,split\na.png,happy,blind\nb.png,sad,train\n", r"a\.png.*blind"),
        ("file,label\na.png,happy\nb.png,happy\n", "at least two classes"),
        ("file,p_happy,p_sad\na.png,many,1\nb.png,1,0\n", "many"),
        ("file,label\n", "no rows"),
        ("file,label, label\na.png,happy,sad\nb.png,sad,sad\n", "two columns called 'label'"),
        ("file,Label,label\na.png,happy,sad\nb.png,sad,sad\n", "two columns called 'label'"),
        ("file,label\na.png,happy\nb.png,sad\n./a.png,sad\n", r"Lines 2 and 4 .* both name \./a\.png"),
        ("file,label\na.png,happy\n\n,\nb.png,sleepy\n", r"Line 5 .*b\.png.*sleepy"),
        ("file,label,p_happy,p_sad\na.png,happy,1,1\nb.png,sad,x,1\n", r"Line 3 of .*b\.png.* has the vote 'x'"),
        ("file,label\na.png,happy\n,sad\n", r"Line 3 of .*manifest\.csv names no file"),
        ("file,label\na.png,happy\nset/../a.png,sad\n", r"a\.png and set/\.\./a\.png of .* mean one picture"),
        ("file,label\na.png,happy\nPLACE/a.png,sad\n", r"a\.png and /.*/a\.png of .* mean one picture"),
        ("file,affect\na.png,positive\nb.png,negative\nb.png,mixed\n", r"Lines 3 and 4 .* both name b\.png"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, words):
    put(tmp_path, "a.png", "b.png", "set/c.png")
    (tmp_path / "manifest.csv").write_text(table.replace("PLACE", str(tmp_path)))
    with pytest.raises(DatasetError, match=words):
        read_labeled_images(tmp_path)


def test_a_table_that_is_not_there_is_said_without_an_error_number(tmp_path):
    with pytest.raises(DatasetError, match=r"infants\.csv could not be read: No such file or directory\.$"):
        read_rows(tmp_path / "infants.csv")


@pytest.mark.filterwarnings("default")
def test_rows_longer_than_the_header_are_refused_where_warnings_are_no_errors(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\nPos1.jpg,positive,extra\nNeg1.jpg,negative,extra\n")
    with pytest.raises(DatasetError, match=r"labels\.csv could not be read as a table"):
        read_rows(tmp_path / "labels.csv")


ANN, TWO = "file,subject\nPos1.jpg,ann\nNeg1.jpg,ann\n", "file,label\nPos1.jpg,positive\nNeg1.jpg,negative\n"


@pytest.mark.parametrize("place", ["City", ".", "City/faces"])
def test_a_table_of_subjects_beside_or_above_all_pictures_is_read(tmp_path, place):
    put(tmp_path, "City/faces/Pos1.jpg", "City/faces/Neg1.jpg", ".hidden/subjects.csv")
    (tmp_path / place / "subjects.csv").write_text(ANN)
    found = read_labeled_images(tmp_path)
    assert found.subjects_known
    assert found.subject.tolist() == ["ann", "ann"]


@pytest.mark.parametrize("name", ["manifest.csv", "infants.csv", "labels.csv"])
def test_a_table_of_subjects_beside_a_table_is_read(tmp_path, name):
    put(tmp_path, "Pos1.jpg")
    write_zip(tmp_path / "more.zip", {"Neg1.jpg": picture(1)})
    (tmp_path / "subjects.csv").write_text(ANN)
    (tmp_path / name).write_text(TWO)
    found = read_labeled_images(tmp_path / name if name == "labels.csv" else tmp_path)
    assert found.subjects_known
    assert found.subject.tolist() == ["ann", "ann"]
    (tmp_path / name).write_text("file,label,group\nPos1.jpg,positive,1\nNeg1.jpg,negative,2\n")
    with pytest.raises(DatasetError, match=r"has a column group, and subjects\.csv is beside it"):
        read_labeled_images(tmp_path / name)


def test_a_table_of_subjects_is_never_passed_over(tmp_path):
    passed_over = r"subjects\.csv.* would be passed over"
    archive = write_zip(tmp_path / "pictures.zip", dict.fromkeys(("Pos1.jpg", "Neg1.jpg", "subjects.csv"), picture()))
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(archive)
    (tmp_path / "labels.csv").write_text(TWO)
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(tmp_path / "labels.csv")
    archive.unlink()
    folder = put(tmp_path / "set", "happy/Pos1.jpg", "sad/Neg1.jpg")
    (folder / "sad" / "subjects.csv").write_text(ANN)
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(folder)
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(tmp_path / "labels.csv", pictures=[folder])
    (folder / "labels.csv").write_text("file,label\nhappy/Pos1.jpg,happy\nsad/Neg1.jpg,sad\n")
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(folder / "labels.csv")
    (folder / "subjects.csv").write_text(ANN)
    with pytest.raises(DatasetError, match=passed_over):
        read_labeled_images(folder)


@pytest.mark.parametrize("vote", ["-1", "inf", "nan", "many"])
def test_a_vote_that_is_no_number_of_votes_is_refused(tmp_path, vote):
    named_pictures(tmp_path / "pictures.zip", ["a.jpg", "b.jpg"])
    table = tmp_path / "votes.csv"
    table.write_text(f"file,label,p_positive,p_neutral,p_negative\na.jpg,positive,2,0,0\nb.jpg,negative,3,0,{vote}\n")
    with pytest.raises(DatasetError, match=f"vote '{vote}', which is no number of votes"):
        read_labeled_images(table, pictures=[tmp_path / "pictures.zip"])


def test_other_folders_of_pictures_are_for_tables(tmp_path):
    put(tmp_path / "data", "positive/0.png", "negative/1.png")
    with pytest.raises(DatasetError, match="data is no table"):
        read_labeled_images(tmp_path / "data", pictures=[tmp_path])
