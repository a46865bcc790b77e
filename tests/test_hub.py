"""Models by their names on the Hugging Face Hub, with the true client before a stand-in server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from random_contexts import random_batch
from safetensors.torch import load_file

from plurel.errors import InputError
from rt import hub
from rt.checkpoint import Settings, load_settings, resolve
from rt.model import ModelConfig, RelationalTransformer
from tests.hub_stand_in import Hub, serving, use, write_cache

CONFIG = ModelConfig(num_blocks=1, d_model=16, num_heads=2, d_ff=24, d_text=8)
SETTINGS = Settings("hash", {"context_length": 40, "recipes": {"published": {}}}, "0123abcd")
PUBLISHED = "synthetic-pretrain_rdb_1024_size_4b.pt"


def made(seed: int) -> RelationalTransformer:
    torch.manual_seed(seed)
    return RelationalTransformer(CONFIG)


def folder_files(model: RelationalTransformer, place: Path, inside: str = "") -> dict[str, bytes]:
    """The files of a saved model, at `inside` in a repository."""
    model.save_pretrained(place, SETTINGS)
    return {f"{inside}{file.name}": file.read_bytes() for file in sorted(place.iterdir())}


def pt_file(model: RelationalTransformer, place: Path) -> bytes:
    torch.save({f"_orig_mod.{n}": t.bfloat16() for n, t in model.state_dict().items()}, place)
    return place.read_bytes()


def same(one: RelationalTransformer, other: RelationalTransformer, tolerance: float = 0.0) -> bool:
    with torch.no_grad():
        found, expected = (model(random_batch(0)).number for model in (one, other))
    return torch.allclose(found, expected, rtol=0, atol=tolerance)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no Hub unless a test sets one up: the port is closed."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, "http://127.0.0.1:9")
    disable_progress_bars()
    yield tmp_path / "cache"
    enable_progress_bars()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub()) as hub:
        use(monkeypatch, hub.url)
        yield hub


def test_a_folder_on_the_hub_is_a_model_with_its_settings(server: Hub, tmp_path: Path) -> None:
    files = folder_files(made(0), tmp_path / "model") | {"README.md": b"A card.", "big.bin": b"0"}
    server.repositories["lab/small"] = {"main": files}
    loaded = RelationalTransformer.from_pretrained("lab/small")
    assert same(loaded, made(0))
    assert loaded.settings == load_settings("lab/small") == SETTINGS
    assert not any("big.bin" in path or "README" in path for path in server.asked)
    loaded.save_pretrained(tmp_path / "again")
    assert load_settings(tmp_path / "again") == SETTINGS
    state = load_file(tmp_path / "again" / "model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in made(0).state_dict().items())


def test_revisions_and_folders_inside(server: Hub, tmp_path: Path) -> None:
    server.repositories["lab/many"] = {
        "main": folder_files(made(0), tmp_path / "a") | folder_files(made(1), tmp_path / "b", "b/"),
        "v2": folder_files(made(2), tmp_path / "c"),
        "refs/pr/1": folder_files(made(3), tmp_path / "d"),
    }
    names = {"lab/many": 0, "lab/many/b": 1, "lab/many@v2": 2, "lab/many@refs/pr/1": 3}
    for name, seed in names.items():
        assert same(RelationalTransformer.from_pretrained(name), made(seed)), name
    assert same(RelationalTransformer.from_pretrained(Path("lab/many@main/b")), made(1))


def test_published_pt_files(server: Hub, tmp_path: Path) -> None:
    """One repository holds them side by side, another only one."""
    one, other = (pt_file(made(seed), tmp_path / "x.pt") for seed in (0, 1))
    server.repositories["lab/flat"] = {"main": {PUBLISHED: one, "finetune_a.pt": other}}
    server.repositories["lab/single"] = {"main": {"README.md": b"", PUBLISHED: one}}
    for name, seed in (
        (f"lab/flat/{PUBLISHED}", 0),
        ("lab/flat/finetune_a.pt", 1),
        ("lab/single", 0),
    ):
        loaded = RelationalTransformer.from_pretrained(name)
        assert same(loaded, made(seed), 0.2), name
        assert not same(loaded, made(1 - seed), 0.2), name
        assert loaded.settings == load_settings(name) == Settings()
    several = rf"no model.safetensors and config.yaml; its .pt files are finetune_a.pt, {PUBLISHED}"
    with pytest.raises(InputError, match=several):
        resolve("lab/flat")


def test_without_a_network_the_cache_is_used(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories["lab/small"] = {"main": folder_files(made(0), tmp_path / "model")}
    server.repositories["lab/flat"] = {"main": {"a.pt": pt_file(made(1), tmp_path / "x.pt")}}
    for name in ("lab/small", "lab/flat"):
        resolve(name)
    for offline in (False, True):
        use(monkeypatch, "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        assert same(RelationalTransformer.from_pretrained("lab/small"), made(0))
        assert same(RelationalTransformer.from_pretrained("lab/flat"), made(1), 0.2)


def test_a_cache_that_another_program_filled(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    files = folder_files(made(0), tmp_path / "model")
    snapshot = write_cache(cache, "lab/small", "main", files)
    write_cache(cache, "lab/flat", "v1", {PUBLISHED: pt_file(made(1), tmp_path / "x.pt")})
    assert resolve("lab/small") == snapshot
    assert same(RelationalTransformer.from_pretrained("lab/small"), made(0))
    assert same(RelationalTransformer.from_pretrained("lab/flat@v1"), made(1), 0.2)
    with pytest.raises(
        InputError, match="is not in the cache of the Hub: download it without HF_H"
    ):
        resolve("lab/flat")


def test_the_boundary_to_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the files of the model are asked for, at the revision that is named."""
    files = folder_files(made(0), tmp_path / "model", "sub/")
    snapshot = write_cache(tmp_path / "elsewhere", "lab/small", "v1", files)
    asked = {}

    def download(repo_id: str, **options: object) -> str:
        asked[repo_id] = options
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(hub, "_files", lambda reference: [*files, "other.pt"])
    assert same(RelationalTransformer.from_pretrained("lab/small@v1/sub"), made(0))
    wanted = ["sub/model.safetensors", "sub/config.yaml"]
    assert asked == {"lab/small": {"revision": "v1", "allow_patterns": wanted}}


def test_a_path_wins(server: Hub, tmp_path: Path) -> None:
    server.repositories["lab/small"] = {"main": folder_files(made(0), tmp_path / "model")}
    made(1).save_pretrained("lab/small")
    assert same(RelationalTransformer.from_pretrained("lab/small"), made(1))
    Path("lab/empty").mkdir()
    with pytest.raises(InputError, match="lab/empty is no checkpoint"):
        resolve("lab/empty")
    # a path that was mistyped is no model of the Hub, unless a revision says so
    near = r"there is nothing of .* lab/smal@main of the Hub or .*did you mean 'lab/small'"
    with pytest.raises(InputError, match=near):
        resolve("lab/smal")
    with pytest.raises(InputError, match="lab/small@main/step_3 of the Hub"):
        resolve("lab/small/step_3")
    assert server.asked == []
    assert same(RelationalTransformer.from_pretrained("lab/small@main"), made(0))


def test_a_name_like_that_of_a_model_of_the_package(server: Hub) -> None:
    with pytest.raises(InputError, match=r"plurel-smal is no .*; did you mean 'plurel-small'"):
        resolve("plurel-smal")
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lab/nothing", "is no path here, and the Hub has no repository lab/nothing"),
        ("lab/small@v9", "is no path here, and lab/small of the Hub has no revision v9"),
        ("lab/gated", "is no path here, and lab/gated of the Hub is gated: accept its terms"),
        ("lab/empty", "has no model.safetensors and config.yaml; nor any .pt file"),
        ("lab/small/x.pt", r"lab/small: this repository of the Hub has no x.pt; nor any .pt file"),
        ("lab/small/x", r"has no x/model.safetensors and x/config.yaml; .* as lab/small/PATH"),
        ("lab/sm--all", r"lab/sm--all is no path here, and .*Cannot have -- or"),
    ],
)
def test_what_the_hub_has_not(server: Hub, tmp_path: Path, name: str, said: str) -> None:
    files = folder_files(made(0), tmp_path / "model")
    server.repositories |= {f"lab/{name}": {"main": files} for name in ("small", "gated")}
    server.repositories["lab/empty"] = {"main": {"README.md": b""}}
    server.gated.add("lab/gated")
    with pytest.raises(InputError, match=said) as error:
        RelationalTransformer.from_pretrained(name)
    assert "\n" not in str(error.value)


def test_no_network_and_nothing_in_the_cache() -> None:
    with pytest.raises(InputError, match=r"no path here, and lab/small cannot be fetched from the"):
        resolve("lab/small")


@pytest.mark.parametrize(
    "name",
    ["/lab/small", "./lab/small", "../small", "lab", "lab/x.pt", "lab/.hidden", "lab/a/../b",
     "lab/a@", "~/lab/small", "lab//small", ""],
)  # fmt: skip
def test_names_that_can_only_be_paths(server: Hub, name: str) -> None:
    assert hub.parse(name) is None
    with pytest.raises(InputError, match=r"is no checkpoint|does not exist"):
        resolve(name or "nowhere")
    assert server.asked == []
