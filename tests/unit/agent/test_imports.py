"""What the agent's processes import: in the wrong process, an import delays each start by seconds."""

import ast
from pathlib import Path

from services.agent import bootstrap

MCP_TOOLS = "services.agent.mcp_tools"


def test_mcp_is_imported_by_the_fork_server_and_not_by_the_workers_main_process() -> None:
    files = sorted(Path(bootstrap.__file__).parent.glob("*.py"))
    importing = {
        file.name
        for file in files
        for line in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(line, ast.ImportFrom) and line.module == MCP_TOOLS
    }
    assert importing == set(), "of modules, as they are imported; a function may"
    assert MCP_TOOLS in bootstrap.PRELOADED, "else the import would block a call"
