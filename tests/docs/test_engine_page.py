"""The engine of the how-to page keeps every rule that it explains."""

import types

import pytest

from genesis_trio.testing.engines import EngineConformance

PAGE = "how-to/write-a-store-engine.md"


class TestEngineOfThePage(EngineConformance):
    """The suite that the page tells its reader to subclass."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, block_of):
        module = types.ModuleType("folder_engine")
        exec(compile(block_of(PAGE, "folder_engine.py"), PAGE, "exec"), module.__dict__)
        self.engine = module.FolderEngine
        self.location = str(tmp_path / "store")

    def open(self):
        return self.engine.open(self.location)
