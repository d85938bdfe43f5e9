"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something given to the library is wrong, and the message says how to mend it.

    Every message is one line that names the file or the value, what is wrong with it, and the remedy.
    The command line prints it without a traceback and exits with status 2.
    """
