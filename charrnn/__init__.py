"""charrnn learns to write like the text it is given, one character at a time."""

__version__ = "0.1.0"
