"""docTR's checkpoints: the reader takes what torch wrote and nothing else; the tables leave nothing over."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import threading
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import zoo
from zoo import checkpoint as reader
from zoo import cli, conversion, registry, weights
from zoo.backbones import BACKBONES
from zoo.checkpoint import ConversionError
from zoo.tables.rows import KERNEL, Source
from zoo.tables.trunks import trunk
from zoo.weights import WeightsError

BY_TORCH = Path(__file__).parent / "parity" / "golden" / "checkpoint.pt"
NAME = "crnn_mobilenet_v3_small"


def fragment(value) -> bytes:
    """The opcodes that put a plain value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def pickled(tensors: dict[str, tuple], kind: str = "FloatStorage") -> bytes:
    """The pickle of a state dict as torch.save writes it; a tensor is (key of its storage, count, offset, shape,
    strides)."""
    items = b""
    for name, (key, count, offset, shape, strides) in tensors.items():
        storage = b"(" + fragment("storage") + f"ctorch\n{kind}\n".encode() + fragment(key) + fragment("cpu")
        storage += fragment(count) + b"tQ"
        place = fragment(offset) + fragment(shape) + fragment(strides) + fragment(False)
        items += fragment(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + place
        items += b"ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def archive(path: Path, content: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            file.writestr(f"archive/data/{key}", data)
    return path


def checkpoint(path: Path, state: dict[str, np.ndarray]) -> Path:
    """A file with these float32 tensors, as torch.save writes it."""
    tensors = {}
    for number, (name, value) in enumerate(state.items()):
        strides = tuple(step // 4 for step in np.array(value, "<f4", order="C").strides)
        tensors[name] = (str(number), value.size, 0, value.shape, strides)
    storages = {str(number): value.astype("<f4").tobytes() for number, value in enumerate(state.values())}
    return archive(path, pickled(tensors), storages)


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """A whole state dict of docTR's smallest recognizer, with random values and counters of steps."""
    rng = np.random.default_rng(7)
    ours = {variable.path: tuple(variable.shape) for variable in zoo.build(NAME).weights}
    result = {"feat_extractor.0.1.num_batches_tracked": np.array(3)}
    for path, source in conversion.table(NAME).items():
        shape = [0] * len(source.axes)
        for position, axis in enumerate(source.axes):
            shape[axis] = ours[path][position]
        for key in source.keys:
            result[key] = rng.normal(0, 0.1, shape).astype("float32")
    return result


# ---------------------------------------------------------------- reader


def test_a_file_that_torch_wrote():
    """tests/parity/make_golden.py wrote it: kinds of numbers, views, a parameter, a scalar, nothing at all."""
    tensors = reader.read(BY_TORCH)
    base = np.arange(24, dtype="float32").reshape(2, 3, 4) / 8
    expected = {
        "weight": np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -0.125]], "float32"),
        "bias": np.array([1.5, -2.5], "float32"),
        "half": base.astype("float16"),
        "brain": np.array([1.0, -2.0, 3.140625, 1e30], "float32"),
        "turned": base.transpose(2, 0, 1),
        "part": base[1, 1:, ::2],
        "count": np.array(7),
        "empty": np.zeros((0, 3), "float32"),
    }
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype
        np.testing.assert_allclose(tensors[name], value, rtol=2**-8 if name == "brain" else 0)


def test_the_writer_of_these_tests_agrees_with_torch(tmp_path):
    value = np.arange(6, dtype="float32").reshape(2, 3)
    read = reader.read(checkpoint(tmp_path / "a.pt", {"one": value, "two": value[0]}))
    np.testing.assert_array_equal(read["one"], value)
    np.testing.assert_array_equal(read["two"], value[0])


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    victim = tmp_path / "victim"
    content = pickle.dumps({"weight": Evil(victim)}, protocol)
    pickle.loads(content)
    assert victim.exists()  # it would have
    victim.unlink()
    with pytest.raises(ConversionError, match=r"evil\.pt: its pickle asks for .*, which is no tensor"):
        reader.read(archive(tmp_path / "evil.pt", content, {}))
    assert not victim.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "os system", "torch._utils _rebuild_device_tensor", "torch load", "torch DoubleStorage"]
)
def test_only_four_names_are_known(tmp_path, name):
    content = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n."
    with pytest.raises(ConversionError, match="asks for " + name.replace(" ", ".")):
        reader.read(archive(tmp_path / "evil.pt", content, {}))


@pytest.mark.parametrize(
    "tensor",
    [
        ("0", 4, 0, (5,), (1,)),  # one value too many
        ("0", 4, 1, (2, 2), (2, 1)),  # the last value lies behind the end
        ("0", 4, -1, (2,), (1,)),
        ("0", 4, 0, (2,), (-1,)),
        ("0", 4, 0, (2,), (2**62,)),
        ("0", 4, 0, (1 << 20, 1 << 20), (0, 0)),  # a terabyte from one value
        ("0", 4, 0, (2, 2), (1,)),
        ("0", 5, 0, (2,), (1,)),  # the storage says that it is longer than it is
    ],
)
def test_a_tensor_stays_within_its_storage(tmp_path, tensor):
    path = archive(tmp_path / "a.pt", pickled({"x": tensor}), {"0": b"\0" * 16})
    with pytest.raises(ConversionError):
        reader.read(path)


@pytest.mark.parametrize("keep", [0, 1, 30, 200, 1500, -30, -1])
def test_a_file_that_was_cut_short(tmp_path, keep):
    path = tmp_path / "short.pt"
    path.write_bytes(BY_TORCH.read_bytes()[:keep])
    with pytest.raises(ConversionError, match=r"short\.pt: "):
        reader.read(path)


def test_damaged_values_are_noticed(tmp_path):
    content = bytearray(BY_TORCH.read_bytes())
    place = content.find(np.array([1.5, -2.5], "<f4").tobytes())
    content[place] ^= 1
    (tmp_path / "damaged.pt").write_bytes(content)
    with pytest.raises(ConversionError, match="damaged or cut short"):
        reader.read(tmp_path / "damaged.pt")


@pytest.mark.parametrize("content", [b"", b"\x80", b"garbage", b"\x80\x02}q\x00.extra", b"Q."])
def test_a_broken_pickle_gives_one_kind_of_error(tmp_path, content):
    with pytest.raises(ConversionError):
        reader.read(archive(tmp_path / "a.pt", content, {}))


def test_other_files_are_told_apart(tmp_path):
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(ConversionError, match="a plain pickle, which is not read"):
        reader.read(plain)
    with pytest.raises(ConversionError, match="not a torch checkpoint"):
        reader.read(Path(__file__))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("hello.txt", "hello")
    with pytest.raises(ConversionError, match="without one data.pkl"):
        reader.read(tmp_path / "other.zip")
    with pytest.raises(FileNotFoundError):
        reader.read(tmp_path / "nowhere.pt")


def test_a_swollen_or_incomplete_archive(tmp_path):
    content = pickled({"x": ("0", 4, 0, (4,), (1,))})
    with pytest.raises(ConversionError, match="is compressed"):
        reader.read(archive(tmp_path / "a.pt", content, {"0": b"\0" * 16}, zipfile.ZIP_DEFLATED))
    with pytest.raises(ConversionError, match="has no archive/data/0"):
        reader.read(archive(tmp_path / "a.pt", content, {}))


@pytest.mark.parametrize("value", [{}, [], OrderedDict(epoch=3), {3: None}, None])
def test_a_checkpoint_of_something_else(tmp_path, value):
    with pytest.raises(ConversionError, match="state dict"):
        reader.read(archive(tmp_path / "a.pt", pickle.dumps(value, 2), {}))


# ---------------------------------------------------------------- tables


def test_tensors_arrive_where_they_belong(state):
    ours = conversion.translate(NAME, state)
    kernel = state["feat_extractor.0.0.weight"]  # (out, in, height, width)
    assert ours["stem_conv/kernel"][2, 0, 1, 5] == kernel[5, 1, 2, 0]
    depthwise = state["feat_extractor.4.block.1.0.weight"]  # (channels, 1, height, width)
    assert ours["block4_depthwise_conv/kernel"][4, 3, 7, 0] == depthwise[7, 0, 4, 3]
    biases = state["decoder.bias_ih_l1_reverse"] + state["decoder.bias_hh_l1_reverse"]
    np.testing.assert_array_equal(ours["recurrent2/backward_lstm/lstm_cell/bias"], biases)
    np.testing.assert_array_equal(ours["logits/kernel"], state["linear.weight"].T)
    np.testing.assert_array_equal(ours["head_norm/moving_variance"], state["feat_extractor.12.1.running_var"])


@pytest.mark.parametrize("name", [name for name in zoo.names() if "doctr" in zoo.card(name).published])
def test_each_of_their_tensors_is_used_once_and_each_of_ours_filled(name):
    sources = conversion.table(name)
    used = [key for source in sources.values() for key in source.keys]
    assert len(used) == len(set(used))
    assert sources.keys() == {variable.path for variable in zoo.build(name).weights}


def test_basic_blocks_have_no_shortcut_in_the_first_stage():
    rows = dict(trunk("resnet34"))
    projection = Source(("feat_extractor.layer2.0.downsample.0.weight",), KERNEL)
    assert rows["stage2_block1_shortcut_conv/kernel"] == projection
    assert not any(path.startswith("stage1_block1_shortcut") for path in rows)
    assert len([path for path in rows if path.endswith("/kernel")]) == 1 + 2 * (3 + 4 + 6 + 3) + 3


def test_leftovers_on_either_side_are_refused(state):
    less = {key: value for key, value in state.items() if key != "linear.bias"}
    with pytest.raises(ConversionError, match=r"not one of crnn_mobilenet_v3_small: 1 missing: linear\.bias$"):
        conversion.translate(NAME, less)
    with pytest.raises(ConversionError, match=r"1 unknown: attention\.weight"):
        conversion.translate(NAME, state | {"attention.weight": np.zeros(3)})
    with pytest.raises(ConversionError, match=r"of a wrong rank: linear\.weight"):
        conversion.translate(NAME, state | {"linear.weight": np.zeros(3)})
    with pytest.raises(ConversionError, match=r"and \d+ more; .* unknown"):
        conversion.translate("crnn_vgg16_bn", state)


def test_a_network_that_docTR_does_not_have(tmp_path):
    card = replace(zoo.card(NAME), builder="zoo.recognition.other:other")
    registry.write_card(card, tmp_path / "card.toml")
    with pytest.raises(
        ConversionError, match=r"there is no table of docTR's names for it; there are tables for .*crnn"
    ):
        conversion.table(tmp_path)
    with pytest.raises(ConversionError, match="backbones by densenet, mobilenet_v3, resnet, vgg, not for textnet_tiny"):
        list(trunk("textnet_tiny"))


# ---------------------------------------------------------------- command


def test_the_command_writes_weights_that_load(state, tmp_path, capsys):
    source, target = checkpoint(tmp_path / "theirs.pt", state), tmp_path / "ours.safetensors"
    assert cli.main(["convert", "doctr", NAME, str(source), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    expected = conversion.translate(NAME, state)
    network = zoo.load(NAME, weights=target)
    for variable in network.weights:
        np.testing.assert_array_equal(np.asarray(variable), expected[variable.path])

    assert cli.main(["convert", "doctr", NAME, str(source), "--output", str(target), "--dtype", "float16"]) == 0
    assert target.stat().st_size < 0.7 * source.stat().st_size
    np.testing.assert_allclose(weights.read(target)["logits/kernel"], expected["logits/kernel"], atol=1e-3)


def test_the_command_fails_clearly_and_leaves_nothing(state, tmp_path, capsys):
    target = tmp_path / "ours.safetensors"
    source = checkpoint(tmp_path / "theirs.pt", state | {"linear.bias": np.zeros(95, "float32")})
    command = ["convert", "doctr", NAME, str(source), "--output", str(target)]
    assert cli.main(command) == 1  # another alphabet
    assert "logits/bias (127,) in the network, (95,) given" in capsys.readouterr().err
    command[2] = "db_resnet50"
    assert cli.main(command) == 1
    assert "zoo convert: the checkpoint is not one of db_resnet50" in capsys.readouterr().err
    assert not target.exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "fetch", lambda *args, **options: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    assert cli.main(["convert", "doctr", NAME, "--output", str(tmp_path / "file" / "ours.safetensors")]) == 1
    assert "ours.safetensors cannot be written" in capsys.readouterr().err


def test_a_url_must_say_its_checksum(state, tmp_path, capsys):
    command = [
        "convert",
        "doctr",
        NAME,
        "https://example.org/theirs.pt",
        "--output",
        str(tmp_path / "ours.safetensors"),
    ]
    assert cli.main(command) == 1
    assert "names no digits of a SHA-256" in capsys.readouterr().err
    assert cli.main(["convert", "torchvision", NAME, "--output", str(tmp_path / "out.safetensors")]) == 1
    assert f"no checkpoint of torchvision is known for {NAME}; give a file or a URL" in capsys.readouterr().err


# ---------------------------------------------------------------- torchvision


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_backbone_of_torchvision_is_a_start(tmp_path, suffix):
    rng = np.random.default_rng(8)
    features, body = "resnet18", {}
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, BACKBONES[features](image))
    shapes = {variable.path: tuple(variable.shape) for variable in network.weights}
    for path, source in conversion._torchvision(features):
        shape = [0] * len(source.axes)
        for position, axis in enumerate(source.axes):
            shape[axis] = shapes[path][position]
        (key,) = source.keys
        body[key] = rng.uniform(0.5, 1, shape).astype("float32")
    file, target = tmp_path / f"theirs{suffix}", tmp_path / "ours.safetensors"
    whole = body | {"fc.weight": np.zeros((1000, 512), "float32"), "fc.bias": np.zeros(1000, "float32")}
    save_file(whole, file) if suffix == ".safetensors" else checkpoint(file, whole)
    assert cli.main(["convert", "torchvision", features, str(file), "--output", str(target)]) == 0
    tensors = weights.read(target)
    kernel = body["layer2.0.downsample.0.weight"]
    assert tensors["stage2_block1_shortcut_conv/kernel"][0, 0, 3, 5] == kernel[5, 3, 0, 0]
    assert tensors.keys() == shapes.keys()

    detector = zoo.build("linknet_resnet18")
    assert not tensors.keys() - {variable.path for variable in detector.weights}
    with pytest.raises(ConversionError, match="not one of resnet34"):
        conversion.write_trunk("resnet34", file, target)
    with pytest.raises(ConversionError, match=r"no backbone is named 'resnet99'; there are: .*resnet50"):
        conversion.write_trunk("resnet99", file, target)


# ---------------------------------------------------------------- published weights


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def published(state, tmp_path, monkeypatch):
    """The card of `NAME` without weights of ours, its published ones being on a server here; and what that is asked."""
    folder = tmp_path / "server"
    folder.mkdir()
    digest = hashlib.sha256(checkpoint(folder / "theirs.pt", state).read_bytes()).hexdigest()[:8]
    (folder / "theirs.pt").rename(folder / f"theirs-{digest}.pt")
    handler = type("Handler", (Quiet,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    facts = {
        "url": f"http://127.0.0.1:{server.server_port}/theirs-{digest}.pt?src=0",
        "file": f"theirs-{digest}.pt",
        "sha256": digest,
    }
    cards = tmp_path / "cards"
    registry.write_card(replace(zoo.card(NAME), weights={}, published={"doctr": facts}), cards / f"{NAME}.toml")
    monkeypatch.setattr(registry, "CARDS", cards)
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    yield facts, handler.asked, folder / facts["file"]
    server.shutdown()
    server.server_close()


def test_published_weights_are_fetched_converted_and_kept(published, state, tmp_path):
    _, asked, _ = published
    expected = conversion.translate(NAME, state)
    for name in ("default", "doctr"):
        network = zoo.load(NAME, weights=name)
        for variable in network.weights:
            np.testing.assert_array_equal(np.asarray(variable), expected[variable.path])
    assert len(asked) == 1
    (kept,) = (tmp_path / "cache" / "weights").glob("*.safetensors")
    assert not list((tmp_path / "cache").rglob("theirs*"))
    assert weights.find(zoo.card(NAME)) == kept

    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)  # a disk forgets a bit
    assert weights.obtain(zoo.card(NAME)) == kept and len(asked) == 2
    assert kept.read_bytes() != content


def test_published_weights_in_a_cache_that_can_only_be_read(published, tmp_path, monkeypatch):
    _, asked, _ = published
    kept = weights.obtain(zoo.card(NAME))
    for lock in kept.parent.glob(".*.lock"):
        lock.unlink()
        lock.mkdir()  # which nobody can open to write, not even root
    assert weights.obtain(zoo.card(NAME)) == kept and len(asked) == 1
    kept.unlink()
    with pytest.raises(WeightsError, match="cannot be written: .*OCRZOO_CACHE names another folder"):
        weights.obtain(zoo.card(NAME))


def test_without_a_network_three_things_help(published, tmp_path, monkeypatch):
    facts, asked, file = published
    monkeypatch.setenv("OCRZOO_OFFLINE", "1")
    for name in ("default", "doctr"):
        with pytest.raises(WeightsError) as caught:
            zoo.load(NAME, weights=name)
        for remedy in ("OCRZOO_OFFLINE is set", "weights=None", facts["file"], "OCRZOO_MIRROR", f"recognition.{NAME}"):
            assert remedy in str(caught.value)
    assert zoo.load(NAME, weights=None).name == NAME
    monkeypatch.setenv("OCRZOO_MIRROR", str(file.parent))
    assert weights.obtain(zoo.card(NAME)).is_file() and asked == []
    assert file.is_file()  # what lies in a mirror stays


def test_another_file_than_was_published_is_refused(published, tmp_path):
    facts, _, file = published
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=f"not {facts['sha256']} as in the card"):
        zoo.load(NAME, weights="doctr")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_our_weights_come_before_published_ones(published, monkeypatch):
    _, asked, _ = published
    ours = replace(zoo.card(NAME), weights={"file": f"{NAME}.safetensors"})
    monkeypatch.setattr(registry, "card", lambda name: ours)
    with pytest.raises(WeightsError, match="which are not there"):
        zoo.load(NAME)
    assert asked == [] and weights.identity(ours) == "none"
    monkeypatch.setattr(registry, "card", lambda name: replace(ours, published={}))
    with pytest.raises(WeightsError, match="doctr published no weights for"):
        zoo.load(NAME, weights="doctr")
