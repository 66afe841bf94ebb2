"""Build script: every value comes from settings.ini (nbdev 2.x convention); the wheel carries the experiment notebooks."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(root / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

LICENSES = {"apache2": "Apache-2.0", "mit": "MIT", "bsd3": "BSD-3-Clause"}


def reqs(key: str) -> list[str]:
    """The requirements under one key; a specification contains no space."""
    return cfg.get(key, "").split()


class BuildWithNotebooks(build_py):
    """Copy nbs/experiments into the package, so that an installed `robinfo run` finds them outside any checkout."""

    def notebooks(self) -> dict[Path, Path]:
        """Source of each notebook and profile file by its place in the build."""
        target = Path(self.build_lib) / cfg["lib_path"] / "experiments" / "notebooks"
        source = root / "nbs" / "experiments"
        found = sorted([*source.glob("[!._]*.ipynb"), *source.glob("[!._]*.yaml")])
        return {target / path.name: path for path in found if not path.name.endswith(".partial.ipynb")}

    def run(self) -> None:
        """Build the modules, then copy the notebooks (an editable install reads them in place)."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        for target, source in self.notebooks().items():
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Every file built, the notebooks included."""
        copied = [] if getattr(self, "editable_mode", False) else [str(path) for path in self.notebooks()]
        return [*super().get_outputs(include_bytecode), *copied]


extras = {k.removesuffix("_requirements"): reqs(k) for k in cfg if k.endswith("_requirements")}
extras["all"] = sorted({r for rs in extras.values() for r in rs})

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(root / "README.md").read_text(encoding="utf-8") if (root / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license=LICENSES.get(cfg["license"], cfg["license"]),
    keywords=cfg["keywords"],
    url=cfg["git_url"],
    packages=find_packages(include=[cfg["lib_name"], cfg["lib_name"] + ".*"]),
    package_data={cfg["lib_name"]: ["py.typed", "*.bib", "**/*.json"]},
    include_package_data=True,
    python_requires=">=" + cfg["min_python"],
    install_requires=reqs("requirements"),
    extras_require=extras,
    entry_points={
        "console_scripts": reqs("console_scripts"),
        "nbdev": [f'{cfg["lib_path"]}={cfg["lib_path"]}._modidx:d'],
    },
    cmdclass={"build_py": BuildWithNotebooks},
    zip_safe=False,
)
