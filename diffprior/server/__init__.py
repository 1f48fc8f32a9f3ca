"""The server of the page and of programs: tasks over HTTP, on this machine."""

__all__: list[str] = []
