"""All metadata is in setup.cfg. This file adds to the sdist what a default sdist leaves out."""

from setuptools import setup
from setuptools.command.sdist import sdist


class SourceDistribution(sdist):
    """An sdist that holds the tests and the documentation too, so that a packager can run them."""

    def make_distribution(self):
        for name in ("CHANGELOG.rst", "CONTRIBUTING.rst", "tox.ini"):
            self.filelist.include(name)
        for folder in ("docs", "tests"):
            self.filelist.graft(folder)
        self.filelist.global_exclude("*.py[cod]")
        self.filelist.prune("docs/_build")
        super().make_distribution()


setup(cmdclass={"sdist": SourceDistribution})
