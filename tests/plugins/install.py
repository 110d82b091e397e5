"""Installs a package of this directory where a test wants it: no network, nothing is built."""

import os
import shutil
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))


def install(package: str, directory: str) -> None:
    """Put a package's modules and its metadata into a directory that is, or will be, on the
    path: what ``pip install --no-deps --target`` leaves there."""
    source = os.path.join(HERE, package)
    with open(os.path.join(source, "pyproject.toml"), "rb") as file:
        settings = tomllib.load(file)
    project = settings["project"]
    for module in settings["tool"]["setuptools"]["py-modules"]:
        shutil.copy(f"{source}/{module}.py", directory)
    name = project["name"].replace("-", "_")
    info = f"{directory}/{name}-{project['version']}.dist-info"
    os.mkdir(info)
    with open(f"{info}/METADATA", "w", encoding="utf-8") as file:
        lines = ("Metadata-Version: 2.1", f"Name: {project['name']}")
        file.write("\n".join((*lines, f"Version: {project['version']}", "")))
    with open(f"{info}/entry_points.txt", "w", encoding="utf-8") as file:
        for group, entries in project["entry-points"].items():
            file.write(f"[{group}]\n")
            file.writelines(f"{key} = {value}\n" for key, value in entries.items())
