"""Priors with a condition of their own, a prompt or a class, and how guidance is added to them."""

from abc import ABC

from ..errors import SettingError, UnsuitedError
from ..validation import literal
from .base import Condition, Prior
from .guided import GuidedPrior

__all__ = ["ConditionalPrior"]

PROMPT_GUIDANCE, LABEL_GUIDANCE = 7.5, 3.0  # default guidance scales


class ConditionalPrior(Prior, ABC):
    """p(x_0 | c), where the condition c is a prompt or a class.

    A subclass sets ``reads_text`` and defines ``for_text``, or sets ``classes`` and defines
    ``for_label``. The methods of ``Prior`` that set conditions then work on it.
    """

    usual_guidance: float = PROMPT_GUIDANCE  # of prompts
    label_guidance: float = LABEL_GUIDANCE  # of classes; 1 where the network has it, or cannot
    embeds_guidance: bool = False

    def with_embedded_guidance(self, scale: float) -> Prior:
        """Return this prior with a network whose guidance is an input at another scale."""
        raise UnsuitedError(f"the network of {self.name} has no input for a guidance scale")

    def _under(self, condition: Condition, name: str) -> Prior:
        if self.reads_text and condition.label is None:
            return self._under_text(condition)
        if self.classes and not condition.texts:
            return self._under_label(condition.label, condition.guidance_scale)
        return super()._under(condition, name)

    def _under_text(self, condition: Condition) -> Prior:
        scale = condition.guidance_scale
        negative = condition.negative_prompt
        text = self.text if condition.prompt is None else condition.prompt
        if text is None and negative is None:
            raise SettingError(f"guidance_scale={scale} strengthens a prompt, and none was set")
        if negative is not None and scale is None and self.usual_guidance == 1:
            raise SettingError(
                f"negative_prompt={literal(negative)} needs a guidance_scale above 1, and that of "
                "this network is 1"
            )
        conditional = self.for_text(text)
        if negative is None and self.embeds_guidance:
            if scale is None or not isinstance(conditional, ConditionalPrior):
                return conditional
            return conditional.with_embedded_guidance(scale)
        scale = self.usual_guidance if scale is None else scale
        free = self.for_text(negative, negative=True)
        return conditional if scale == 1 else GuidedPrior(conditional, free, scale)

    def _under_label(self, label: int | None, scale: float | None) -> Prior:
        conditional = self if label is None else self.for_label(label)
        if conditional.label is None:
            raise SettingError(f"guidance_scale={scale} strengthens a label, and none was set")
        if (self.label_guidance if scale is None else scale) == 1:
            return conditional
        try:
            free = self.for_label(None)
        except ValueError:
            if scale is None:
                return conditional
            raise UnsuitedError(
                f"guidance_scale={scale} needs a network that was trained without labels, too, "
                "and this one was not: its guidance_scale is 1"
            ) from None
        return GuidedPrior(conditional, free, self.label_guidance if scale is None else scale)
