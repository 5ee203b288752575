"""The refusal of input: one exception whose message says what was wrong, where, and what to do."""


class InputRefused(ValueError):
    """Images or plans that cannot be used. Nothing was changed; the message is fit to be shown to an operator."""
