"""The broker's jars: copied by Maven once, kept in `.cache` inside the checkout, keyed by the pom that names them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support.process import Unavailable

POM = Path(__file__).with_name("kafka-pom.xml")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
JAVA_AT_LEAST = 17
COPY_TIMEOUT_S = 300
HOW_TO_GET = "the broker tests need Java 17 or newer and Maven (Debian: apt-get install default-jre-headless maven)"


def find_java() -> str:
    """The `java` to run the broker with: from JAVA_HOME, else from PATH.

    Raises:
        Unavailable: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        raise Unavailable(f"no java found: {HOW_TO_GET}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    version = re.search(r'version "(\d+)', shown)
    if version is None or int(version[1]) < JAVA_AT_LEAST:
        raise Unavailable(f"java is too old ({shown.splitlines()[:1]}): {HOW_TO_GET}")
    return java


def broker_jars() -> Path:
    """The folder that holds the broker's jars; downloads them on first use.

    Raises:
        Unavailable: they are not there yet and Maven is missing or could not get them.
    """
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _copy_dependencies(folder)
    return folder


def _copy_dependencies(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no mvn found: {HOW_TO_GET}")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={partial}"], capture_output=True, text=True, timeout=COPY_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"Maven could not get the broker's jars:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    partial.rename(folder)
