"""Errors that the user can mend; tools print their message alone and exit with code 2."""


class UserError(ValueError):
    """Wrong input: a file, an option or a name. The message says which, and what would mend it."""


class UnsafeCheckpointError(UserError):
    """A file of weights or other data asks for code to be executed while it is being loaded."""
