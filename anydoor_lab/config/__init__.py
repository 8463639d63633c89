"""From the command line to the library: composing, refusing, assembling, loading."""
