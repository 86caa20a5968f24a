"""The command line: each module parses, calls a door and shows what it gave."""
