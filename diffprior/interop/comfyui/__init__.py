"""The folder of nodes for ComfyUI: a link to it in ``custom_nodes`` is all that is needed."""

from diffprior.interop.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
