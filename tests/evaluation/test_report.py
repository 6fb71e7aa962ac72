"""The report: baselines by default, honest ratios, escaped text, and a page a browser can draw."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.evaluation import Arm, page, report
from pdesurrogates.steppers import ETDRK, RK4, integrate

GRID = Grid((32,), (22.0,))
TIMES = [0.25 * n for n in range(13)]
NASTY = "<script>alert('x')</script> & \"quotes\""


def _text(html: str) -> str:
    """What a reader sees."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    equation = KuramotoSivashinsky()
    x = 2 * torch.pi * GRID.coordinates() / 22
    phases = torch.arange(3, dtype=torch.float64)[:, None, None]
    u0 = torch.cos(x + phases) + torch.sin(2 * x)
    reference = integrate(equation.on(GRID), u0, TIMES, ETDRK(4), dt=0.01).states
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
    noise[:, 0] = 0
    broken = reference + 0.3 * noise
    broken[1, 6:] = torch.nan
    path = report(
        tmp_path_factory.mktemp("report") / "new" / "report.html",
        title=f"A title {NASTY}",
        question=NASTY,
        findings=[NASTY],
        arms={
            "slow": Arm(
                [reference + 0.1 * noise, reference - 0.1 * noise], seconds=1e3,
                num_parameters=12345, calls_per_time=4.0, training_seconds=61.0, stepper=ETDRK(4),
                training_curve=([1, 2, 3], [1.0, 0.3, 0.1]),
            ),
            f"broken {NASTY}": Arm(broken, seconds=1e-9, stepper=RK4(), note=NASTY),
        },
        reference=reference, grid=GRID, times=TIMES, equation=equation,
        facts={"split": "test", NASTY: NASTY},
    )  # fmt: skip
    return path


def test_baselines_are_there_without_being_asked_for(written):
    text = _text(written.read_text())
    assert "persistence" in text
    assert "oracle floor, ETDRK4, dt 0.25" in text and "oracle floor, RK4, dt 0.25" in text
    assert "classical" in text and "All classical settings" in text


def test_the_ratio_is_printed_even_when_the_arm_loses(written):
    text = _text(written.read_text())
    assert re.search(r"[\d,.e+]+ times slower", text)
    assert re.search(r"[\d,.e+]+ times faster", text)


def test_diverged_runs_are_counted_and_infinite(written):
    text = _text(written.read_text())
    assert "1 of 3" in text and "0 of 6" in text and "infinite" in text


def test_formulas_settings_and_versions(written):
    text = _text(written.read_text())
    for expected in ("sqrt(mean_x (u - u_ref)^2)", "percentile bootstrap", "pdesurrogates 0",
                     "split", "32 points", "12,345", "61 s"):  # fmt: skip
        assert expected in text, expected


def test_text_is_escaped_and_nothing_is_fetched(written):
    html = written.read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert sources and all(source.startswith("data:") for source in sources)
    assert "@import" not in html and "url(" not in html


def test_only_the_finished_file_is_left(written):
    assert [path.name for path in written.parent.iterdir()] == ["report.html"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    page.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        page.write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_without_an_equation_the_report_says_what_it_cannot_say(tmp_path):
    grid = Grid((8, 8), (1.0, 1.0))
    reference = torch.randn(2, 4, 1, 8, 8)
    path = report(
        tmp_path / "r.html", title="2D", arms={"a": Arm(reference.clone())},
        reference=reference, grid=grid, times=[0.0, 1.0, 2.0, 3.0],
    )  # fmt: skip
    text = _text(path.read_text())
    assert "Not measured" in text and "persistence" in text


def test_bad_input(tmp_path):
    reference = torch.randn(2, 4, 1, 8)
    common = {"reference": reference, "grid": Grid((8,), (1.0,)), "times": [0.0, 1.0, 2.0, 3.0]}
    with pytest.raises(ValueError, match="`arms` is empty"):
        report(tmp_path / "r.html", title="t", arms={}, **common)
    with pytest.raises(ValueError, match="one of the 2 given"):
        report(tmp_path / "r.html", title="t", arms={"a": Arm(reference)}, trajectory=5, **common)


_PROBE = """<script>
window.problems = [];
window.addEventListener("error", e => window.problems.push(e.message || e.target.tagName), true);
window.addEventListener("load", () => {
  const widths = [...document.images].map(i => i.naturalWidth);
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({widths: widths, problems: window.problems,
    fetched: performance.getEntriesByType("resource").map(r => r.name.slice(0, 5))
      .filter(n => n !== "data:"), overflow: document.body.scrollWidth > window.innerWidth});
  document.body.append(out);
});
</script>"""


@pytest.mark.browser
def test_a_browser_draws_every_figure(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no `chromium` in PATH; on Debian: apt-get install chromium")
    html = written.read_text()
    probed = tmp_path / "probed.html"
    probed.write_text(html.replace("<head>", f"<head>{_PROBE}", 1))
    result = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
            "--virtual-time-budget=10000", "--dump-dom", probed.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="probe">(.*?)</pre>', result.stdout, re.S)
    assert found, result.stderr[-2000:]
    seen = json.loads(found.group(1))
    assert len(seen["widths"]) == html.count("<img ") >= 7
    assert min(seen["widths"]) > 100
    assert seen["problems"] == [] and seen["fetched"] == [] and not seen["overflow"]
    assert "CONSOLE" not in result.stderr
