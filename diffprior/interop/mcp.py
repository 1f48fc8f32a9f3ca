"""A server of the Model Context Protocol over standard input and output, with the official SDK."""

import time
from base64 import b64encode
from typing import Any

import anyio
from anyio import from_thread, to_thread
from mcp import types
from mcp.server import Server
from mcp.server.stdio import stdio_server
from torch import Tensor

from .. import __version__
from ..cli.process import describe
from ..io.previews import encoded
from ..runtime.placement import prior_cache
from ..runtime.report import as_json
from ..server.notes import routed
from .toolbox import Answer, Tool, Toolbox

__all__ = ["create_server", "serve"]

OFTEN = 0.2  # s between two notes of progress
INSTRUCTIONS = (
    "Restore and edit image files: fill holes, remove noise, blur and JPEG artifacts, enlarge, "
    "color. All names are of files in one folder. Results are new files; none is overwritten. To "
    "remove an object, inpaint needs a mask file of the size of the image, white where to fill; "
    "mask_scratches, mask_text, mask_color and mask_difference make first ones."
)


def serve(toolbox: Toolbox) -> None:
    """Serve until standard input ends. The prior stays loaded from call to call."""
    with prior_cache(), routed():
        anyio.run(_serve, toolbox)


async def _serve(toolbox: Toolbox) -> None:
    server = create_server(toolbox)
    async with stdio_server() as (receive, send):  # which keeps all else off standard output
        await server.run(receive, send, server.create_initialization_options())


def create_server(toolbox: Toolbox) -> Server[Any]:
    """Return the server of a toolbox; one tool runs at a time, the others wait."""
    limiter = anyio.CapacityLimiter(1)

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_listed(tool) for tool in toolbox.tools.values()])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        callback = _Progress(context.session)
        try:
            answer = await to_thread.run_sync(
                toolbox.call, params.name, params.arguments or {}, callback, limiter=limiter
            )
        except Exception as error:  # an assistant reads what was wrong, and tries again
            text = types.TextContent(text=describe(error))
            return types.CallToolResult(content=[text], is_error=True)
        return _told(answer)

    return Server(
        "diffprior",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


class _Progress:
    """The callback of a task: it tells the client the share of work done, and hears a cancel."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.told = 0.0

    def __call__(self, x: Tensor, share: float) -> None:
        from_thread.check_cancelled()
        now = time.monotonic()
        if now - self.told >= OFTEN or share == 1:
            self.told = now
            from_thread.run(self.session.report_progress, share, 1.0)


def _listed(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.schema),
        annotations=types.ToolAnnotations(
            read_only_hint=False, destructive_hint=False, open_world_hint=False
        ),
    )


def _told(answer: Answer) -> types.CallToolResult:
    """Return an answer as the protocol has it: text, a small picture, and the report."""
    lines = [f"wrote {name}" for name in answer.outputs]
    lines += [answer.line, *(f"warning: {warning}" for warning in answer.warnings)]
    data, media = encoded(answer.picture)
    return types.CallToolResult(
        content=[
            types.TextContent(text="\n".join(lines)),
            types.ImageContent(data=b64encode(data).decode(), mime_type=media),
            types.TextContent(text=as_json(dict(answer.report))),
        ],
    )
