#!/bin/sh
# The steps that make the program's environment: the image runs them, and a test runs them in a folder of its own.
#   deploy/build.sh dependencies DIR    an environment in DIR with what requirements.lock names, hash for hash
#   deploy/build.sh program DIR         the program itself into it, and the tools that were needed out of it
# Run from the root of the checkout; PYTHON names the interpreter.
set -eu

step=${1:?dependencies or program}
target=${2:?a folder}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

case $step in
dependencies)
    "${PYTHON:-python}" -m venv "$target"
    # Wheels only: nothing is compiled here, so what runs is what was hashed.
    "$target/bin/pip" install --quiet --require-hashes --only-binary=:all: --requirement requirements.lock
    ;;
program)
    "$target/bin/pip" install --quiet --no-deps --no-build-isolation .
    "$target/bin/pip" uninstall --quiet --yes setuptools pip
    # A worker that cannot be imported must not become an image.
    "$target/bin/python" -c 'import services.cli.main, services.liquidator.build, services.adapters.otel, services.top.live'
    ;;
*)
    echo "build.sh: no step $step" >&2
    exit 2
    ;;
esac
