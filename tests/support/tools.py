"""Programs of other projects that some checks need: found where they usually are, or a line that says how to get them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.process import Unavailable

HOW_TO_GET = {
    "helm": "go install helm.sh/helm/v3/cmd/helm@v3.16.3",
    "compose-spec": "GOBIN=$PWD go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2 && mv cmd ~/go/bin/compose-spec",
}


def find_tool(name: str) -> str:
    """The program's path: on PATH, or where `go install` puts it.

    Raises:
        Unavailable: it is not on this machine; the text says how to get it.
    """
    found = shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin"))
    if found is None:
        raise Unavailable(f"no {name} here; get it with: {HOW_TO_GET[name]}")
    return found
