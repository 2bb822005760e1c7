"""prefect-dask's own tests, from its source distribution, with daskcache's runner in place of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("package index")

#: What can't pass, and why.
EXPECTED = {"test_nested_task_submission": "it asks for futures of prefect-dask's own class"}

#: Without ``--full``: one kind of cluster, and how tasks end and wait.  Each test starts a cluster.
_FEWER = (
    "not existing_cluster and not process_pool and not thread_pool and ("
    + " or ".join(("failing", "crashed", "nested"))
    + ")"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The unpacked source distribution of the release that is installed."""
    folder = tmp_path_factory.mktemp("prefect-dask")
    name = f"prefect-dask=={version('prefect-dask')}"
    load = ["pip", "download", "-q", "--no-deps", "--no-binary", ":all:", name, "-d", str(folder)]
    subprocess.run([sys.executable, "-m", *load], check=True, capture_output=True)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.timeout(3600)
def test_its_own_tests(folder, tmp_path, full):
    """Each passes, or is named here with its reason."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_TEST_MODE": "1"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # other tests run, too
    environment.pop("PREFECT_API_URL", None)  # they start a server of their own
    environment.pop("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", None)
    report = tmp_path / "report.xml"
    options = ["-p", "runner_of_daskcache", "-o", "asyncio_mode=auto", f"--junitxml={report}"]
    # pytest's own tracebacks parse the source, which Python 3.11 can fail to do in a deep stack
    options.append("--tb=native")
    command = [sys.executable, "-m", "pytest", *options, "tests/test_task_runners.py"]
    if not full:
        command += ["-k", _FEWER]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    failed = [case for case in cases if any(each.tag in ("failure", "error") for each in case)]
    unexpected = [case for case in failed if case.get("name").partition("[")[0] not in EXPECTED]
    assert not unexpected, done.stdout[-5000:]
    assert len(cases) - len(failed) >= (50 if full else 2), done.stdout[-5000:] + done.stderr[-2000:]
    assert {case.get("name").partition("[")[0] for case in failed} == set(EXPECTED)
