"""Rasters of strangers are opened in child processes that can do nothing else.

`supervisor.Sandbox` is the side of the service: it hands a task and its limits over and
gets JSON back. `template` is a process that has imported what the tasks need and forks
one child for each; `guards` takes away from the child what it does not need; `tasks` is
what it may be asked to do.
"""
